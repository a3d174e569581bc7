"""What boto3 raises, told as one sentence that says what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from lastgood.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
_RECORD = ("GetItem", "PutItem", "Query", "UpdateItem", "TransactWriteItems")


def code(error: Exception) -> str:
    """The code of a botocore ClientError, as `ValidationError`; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def message(error: Exception) -> str:
    """What AWS said, without botocore's frame."""
    response = getattr(error, "response", None)
    text = response.get("Error", {}).get("Message", "") if isinstance(response, dict) else ""
    return text or str(error)


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Turns what boto3 raises out of `function` into one sentence that says what to do.

    The wrapped function raises UsageError in place of botocore's errors.
    """

    @functools.wraps(function)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> R:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return function(*arguments, **options)
        except ClientError as error:
            if code(error) == "ResourceNotFoundException" and error.operation_name in _RECORD:
                raise UsageError(
                    "there is no release record in this account and region: run `lastgood bootstrap` once, or set the "
                    "environment's region"
                ) from None
            raise UsageError(
                f"AWS refused: {error}; check the credentials, the region and the role's permissions"
            ) from None
        except BotoCoreError as error:
            if "http://127.0.0.1:" in str(error):
                raise UsageError("the local cloud does not answer: run `lastgood local up`") from None
            raise UsageError(f"AWS could not be asked: {error}; check the credentials and the region") from None

    return wrapper
