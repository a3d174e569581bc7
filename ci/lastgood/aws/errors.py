"""What boto3 raises, told as one sentence that says what to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from lastgood.errors import UsageError

T = TypeVar("T")
_RECORD = ("GetItem", "PutItem", "Query", "UpdateItem", "DeleteItem", "TransactWriteItems")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
_BUSY = (
    "Throttling",
    "ThrottlingException",
    "ServiceUnavailable",
    "InternalFailure",
    "InternalError",
    "RequestTimeout",
)
_UNHEARD = ("ConnectionError", "HTTPClientError", "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError")


def code(error: BaseException) -> str:
    """The code of a botocore ClientError, as `ValidationError`; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def message(error: BaseException) -> str:
    """What AWS said, without botocore's frame."""
    response = getattr(error, "response", None)
    text = response.get("Error", {}).get("Message", "") if isinstance(response, dict) else ""
    return text or str(error)


def expired(error: BaseException) -> bool:
    """Whether the credentials were good once and are no longer: a session lasts an hour unless more was asked for."""
    return code(error) in EXPIRED


def passing(error: BaseException) -> bool:
    """Whether the same question may be answered a little later: nobody was heard, or AWS is busy."""
    names = {one.__name__ for one in type(error).__mro__ if one.__module__ == "botocore.exceptions"}
    return code(error) in _BUSY or bool(names & set(_UNHEARD))


def patiently(ask: Callable[[], T], *, seconds: float, pause: float) -> T:
    """The answer to a question that may be asked again: for so many seconds it is, while nobody is heard or AWS is busy."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Exception as error:
            if not passing(error) or time.monotonic() >= end:
                raise
        time.sleep(pause)


def is_aws(error: BaseException) -> bool:
    """Whether boto3 raised it. Where boto3 was never imported, it can't have."""
    exceptions = sys.modules.get("botocore.exceptions")
    return exceptions is not None and isinstance(error, exceptions.ClientError | exceptions.BotoCoreError)


def unheard(error: BaseException) -> bool:
    """Whether AWS can't be asked at all with what we have: the session has expired, or nobody was heard."""
    return expired(error) or (is_aws(error) and not code(error))


def explained(error: BaseException) -> UsageError | None:
    """The sentence for what boto3 raised, which says what to do; None for any other error."""
    if not is_aws(error):
        return None
    operation = getattr(error, "operation_name", "")
    if expired(error):
        return UsageError(
            f"the session with AWS has expired ({code(error)} at {operation}): get new credentials and run the command again; a "
            "workflow asks for a longer session with role-duration-seconds"
        )
    if code(error) == "ResourceNotFoundException" and operation in _RECORD:
        return UsageError(
            "there is no release record in this account and region: run `lastgood bootstrap` once, or set the "
            "environment's region"
        )
    if code(error):
        return UsageError(f"AWS refused: {error}; check the credentials, the region and the role's permissions")
    if "http://127.0.0.1:" in str(error):
        return UsageError("the local cloud does not answer: run `lastgood local up`")
    return UsageError(f"AWS could not be asked: {error}; check the credentials and the region")
