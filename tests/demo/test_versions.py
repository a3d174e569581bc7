from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lastgood.config import project
from lastgood.demo import versions
from lastgood.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_the_same_sources_give_the_same_commits(tmp_path: Path) -> None:
    home = project.load(ROOT)
    first = versions.make(home.root, home.app, tmp_path / "one")
    assert list(first) == ["v1", "v2", "v3", "v4"]
    assert versions.make(home.root, home.app, tmp_path / "two") == first
    assert versions.make(home.root, home.app, tmp_path / "one") == first


@pytest.mark.slow
def test_every_version_has_the_migrations_that_its_models_need(tmp_path: Path) -> None:
    home = project.load(ROOT)
    versions.make(home.root, home.app, tmp_path / "clone")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "docker"),
        "PYTHONWARNINGS": "ignore",
        "ENVIRONMENT": "test",
        "DATABASE_URL": f"sqlite:///{tmp_path}/none.sqlite3",
        "SECRET_KEY": "test",
        "DJANGO_SETTINGS_MODULE": "board.settings",
    }
    for version in ("v1", "v2", "v3", "v4"):
        versions.checkout(tmp_path / "clone", version)
        done = subprocess.run(
            [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
            cwd=tmp_path / "clone" / "app",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "No changes detected\n"), (version, done.stderr)


def test_a_reference_project_that_changed_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text("nothing of it\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"models\.py of the reference project lacks the line 'reason"):
        versions._after(file, versions._REASON_FIELD, "")
