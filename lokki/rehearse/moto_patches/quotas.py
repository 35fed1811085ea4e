"""The account's concurrency: how many functions it runs at a time; it refuses further calls.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lokki.builder.concurrency import ACCOUNT_CONCURRENCY
from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_running = 0
_lock = threading.Lock()


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
def permitted(platform: Platform) -> Iterator[None]:
    """A call of a function counts as long as this context; raises moto's error if refused."""
    global _running
    with _lock:
        if platform.concurrency is not None and _running >= platform.concurrency:
            raise _refused()
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1


def _refused() -> Exception:
    client_error = moto("awslambda.exceptions").LambdaClientError
    refused: Exception = client_error("TooManyRequestsException", "Rate Exceeded.")
    refused.code = 429  # type: ignore[attr-defined]
    return refused
