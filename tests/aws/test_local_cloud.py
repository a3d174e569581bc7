from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from lastgood.aws import local_cloud
from lastgood.config import project as projects
from lastgood.config.project import Project
from lastgood.errors import UsageError

CLOUD = local_cloud.LocalCloud(
    endpoint_url="http://127.0.0.1:4566",
    registry="localhost:4566",
    site_url="http://127.0.0.1:8000",
    region="us-east-1",
    account="000000000000",
    database_url="postgresql://board:secret@127.0.0.1:54320/board",
    network="lastgood-board-1",
    instance="board-1",
    parameters={"VpcId": "vpc-1"},
)


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    (tmp_path / "manage.py").touch()
    (tmp_path / "pyproject.toml").write_text('[tool.lastgood]\nproject = "board"\nsettings = "board.settings"\n')
    return projects.load(tmp_path)


def test_what_is_written_is_read_and_forgotten(plain: Project) -> None:
    assert local_cloud.read(plain.state) is None
    local_cloud.write(plain.state, CLOUD)
    assert local_cloud.read(plain.state) == CLOUD
    file = plain.state / "local" / "state.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [one.name for one in file.parent.iterdir()] == ["state.json"]
    local_cloud.forget(plain.state)
    assert local_cloud.read(plain.state) is None


@pytest.mark.parametrize("text", ["{", '{"other": 1}', "[]"])
def test_damaged_file_says_what_to_do(plain: Project, text: str) -> None:
    file = local_cloud.folder(plain.state) / "state.json"
    file.write_text(text)
    with pytest.raises(
        UsageError,
        match=rf"^{re.escape(str(file))} can't be read \(.+\): run `lastgood local up`, which writes it anew$",
    ):
        local_cloud.read(plain.state)
