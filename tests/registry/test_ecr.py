"""What is asked of ECR."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lastgood.config.project import Environment
from lastgood.errors import Refused
from lastgood.registry import ecr


class Ecr:
    """An account's registry: the digests that it holds, or None before bootstrap."""

    def __init__(self, *held: str | None) -> None:
        self.held = held

    def batch_get_image(self, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        assert repositoryName == "board"
        if None in self.held:
            raise ClientError({"Error": {"Code": "RepositoryNotFoundException", "Message": "no"}}, "BatchGetImage")
        return {"images": [one for one in imageIds if one["imageDigest"] in self.held]}


@pytest.mark.parametrize("held", [(), ("sha256:other",), (None,)])
def test_an_image_that_was_not_pushed(held: tuple[str | None, ...]) -> None:
    session: Any = SimpleNamespace(
        project="board", environment=Environment("staging", "board-staging"), client=lambda _service: Ecr(*held)
    )
    with pytest.raises(Refused) as error:
        ecr.check(session, "a", "sha256:a")
    assert str(error.value) == ("the registry of staging does not hold sha256:a (build a): run `lastgood push` first")


def test_an_image_that_was() -> None:
    session: Any = SimpleNamespace(project="board", client=lambda _service: Ecr("sha256:a"))
    ecr.check(session, "a", "sha256:a")
