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
def permitted(function: Any, platform: Platform) -> Iterator[None]:
    """A call of a function counts as long as this context; raises moto's error if refused."""
    name = function.function_name
    reserved = function.reserved_concurrency
    with _lock:
        in_account = platform.concurrency is None or _running.total() < platform.concurrency
        if not in_account or (reserved is not None and _running[name] >= int(reserved)):
            raise _refused()
        _running[name] += 1
    try:
        yield
    finally:
        with _lock:
            _running[name] -= 1


def _refused() -> Exception:
    client_error = moto("awslambda.exceptions").LambdaClientError
    refused: Exception = client_error("TooManyRequestsException", "Rate Exceeded.")
    refused.code = 429  # type: ignore[attr-defined]
    return refused
