"""What boto3 raises, as one sentence."""

from __future__ import annotations

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError
from lastgood.aws.errors import code, explained
from lastgood.errors import Refused, UsageError


def refused(name: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": name, "Message": "no"}}, operation)


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
    ],
)
def test_explained(raised: ClientError | BotoCoreError, expected: str) -> None:
    @explained
    def ask() -> None:
        raise raised

    with pytest.raises(UsageError) as error:
        ask()
    assert str(error.value) == expected


def test_our_own_errors_stay_what_they_are() -> None:
    @explained
    def ask() -> None:
        raise Refused("no")

    with pytest.raises(Refused, match=r"^no$"):
        ask()


def test_codes() -> None:
    assert (code(refused("X", "Y")), code(ValueError())) == ("X", "")
