"""What boto3 raises, as one sentence."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from lastgood.aws.errors import code, explained, passing, unheard
from lastgood.errors import Refused


def refused(name: str, operation: str = "GetItem") -> ClientError:
    return ClientError({"Error": {"Code": name, "Message": "no"}}, operation)


EXPIRED = (
    "the session with AWS has expired ({} at GetItem): get new credentials and run the command again; a workflow asks for a longer session "
    "with role-duration-seconds"
)
TIMEOUT = ReadTimeoutError(endpoint_url="https://cloudformation.eu-central-1.amazonaws.com/")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (
            refused("AccessDenied", "ExecuteChangeSet"),
            (
                "AWS refused: An error occurred (AccessDenied) when calling the ExecuteChangeSet operation: no; check the "
                "credentials, the region and the role's permissions"
            ),
        ),
        (
            refused("ResourceNotFoundException", "GetItem"),
            (
                "there is no release record in this account and region: run `lastgood bootstrap` once, or set the environment's "
                "region"
            ),
        ),
        (
            NoCredentialsError(),
            "AWS could not be asked: Unable to locate credentials; check the credentials and the region",
        ),
        (
            EndpointConnectionError(endpoint_url="http://127.0.0.1:4566/"),
            "the local cloud does not answer: run `lastgood local up`",
        ),
        (refused("ExpiredToken"), EXPIRED.format("ExpiredToken")),
        (refused("ExpiredTokenException"), EXPIRED.format("ExpiredTokenException")),
        (refused("RequestExpired"), EXPIRED.format("RequestExpired")),
        (TIMEOUT, f"AWS could not be asked: {TIMEOUT}; check the credentials and the region"),
    ],
)
def test_explained(raised: Exception, expected: str) -> None:
    assert str(explained(raised)) == expected


@pytest.mark.parametrize("raised", [Refused("no"), OSError(28, "No space left on device"), KeyError("x")])
def test_others_errors_stay_what_they_are(raised: Exception) -> None:
    assert explained(raised) is None


@pytest.mark.parametrize(
    ("raised", "later", "never"),
    [
        (refused("ThrottlingException"), True, False),
        (ConnectTimeoutError(endpoint_url="https://x"), True, True),
        (TIMEOUT, True, True),
        (refused("ExpiredToken"), False, True),
        (NoCredentialsError(), False, True),
        (refused("AccessDenied"), False, False),
        (OSError("no"), False, False),
    ],
)
def test_what_to_wait_for_and_when_to_stop(raised: Exception, later: bool, never: bool) -> None:
    assert (passing(raised), unheard(raised)) == (later, never)


def test_codes() -> None:
    assert (code(refused("X", "Y")), code(ValueError())) == ("X", "")
