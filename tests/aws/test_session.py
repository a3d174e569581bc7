"""Which account a session speaks to."""

from __future__ import annotations

from pathlib import Path

import pytest
from lastgood.aws.session import Session
from lastgood.config.project import Environment, ImageSettings, Project
from lastgood.errors import UsageError


def test_a_local_cloud_that_never_was(tmp_path: Path) -> None:
    environments = {"local": Environment("local", "board-local")}
    project = Project(tmp_path, "board", tmp_path, "board.settings", ImageSettings(), environments=environments)
    with pytest.raises(UsageError) as error:
        Session.of(project, "local")
    assert str(error.value) == "the local cloud is not up: run `lastgood local up`"
