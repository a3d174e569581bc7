"""A signed statement as a file: what it is about, before anybody has verified it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from lastgood.attest.statement import Statement
from lastgood.errors import UsageError


@dataclass(frozen=True)
class Bundle:
    """The bytes of a bundle, and the type of its statement."""

    body: bytes
    kind: str


def read(file: Path, digest: str) -> Bundle:
    """The bundle in a file. Raises UsageError where it is none, or about something else than that digest."""
    try:
        body = file.read_bytes()
        said = Statement.of(base64.b64decode(json.loads(body)["dsseEnvelope"]["payload"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file} holds no signed statement ({type(error).__name__}): name the file that the attestation was written to"
        ) from None
    if digest not in said.digests:
        raise UsageError(
            f"{file} is about {', '.join(sorted(said.digests))}, not {digest}: nothing was put there; attest what was pushed"
        )
    return Bundle(body, said.kind)
