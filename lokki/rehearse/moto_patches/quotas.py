"""The concurrency of the account, and what is reserved of it for a function: further calls are
refused.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lokki.builder.concurrency import ACCOUNT_CONCURRENCY
from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_running: Counter[str] = Counter()
"""How many calls of each function are running."""
_ended = threading.Condition()


def change(platform: Platform) -> None:
    responses = moto("awslambda.responses").LambdaResponse

    def get_account_settings(self: Any) -> str:
        most = platform.concurrency or ACCOUNT_CONCURRENCY
        limits = {"ConcurrentExecutions": most, "UnreservedConcurrentExecutions": most}
        return json.dumps({"AccountLimit": limits, "AccountUsage": {}})

    responses.get_account_settings = get_account_settings
    paths = moto("awslambda.urls").url_paths
    paths[r"{0}/(?P<api_version>[^/]+)/account-settings/?$"] = responses.dispatch


@contextmanager
def permitted(function: Any, platform: Platform, *, waits: bool = False) -> Iterator[None]:
    """A call of a function counts as long as this context.

    Raises moto's error if it is refused, unless it waits until it is not.
    """
    name = function.function_name
    reserved = function.reserved_concurrency

    def has_room() -> bool:
        in_account = platform.concurrency is None or _running.total() < platform.concurrency
        return in_account and (reserved is None or _running[name] < int(reserved))

    with _ended:
        if waits:
            _ended.wait_for(has_room)
        elif not has_room():
            raise _refused()
        _running[name] += 1
    try:
        yield
    finally:
        with _ended:
            _running[name] -= 1
            _ended.notify_all()


def _refused() -> Exception:
    client_error = moto("awslambda.exceptions").LambdaClientError
    refused: Exception = client_error("TooManyRequestsException", "Rate Exceeded.")
    refused.code = 429  # type: ignore[attr-defined]
    return refused
