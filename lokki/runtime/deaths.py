"""The names of errors on AWS: the user's, and those of processes that ended without a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lokki.errors import WorkerDied, never_retried

DEATHS: Mapping[type[Exception], tuple[str, ...]] = {
    TimeoutError: ("States.Timeout", "Sandbox.Timedout"),
    WorkerDied: ("Runtime.ExitError", "Runtime.OutOfMemory", "Lambda.Unknown"),
}
"""The names of AWS, by what such an end is locally
(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html)."""
_CHAINED_TIMEOUT = "ChainedInvoke.Timeout"
"""A durable function's name for the timeout of a function that it called, besides Lambda's own."""
_KINDS: Mapping[str, type[Exception]] = {
    _CHAINED_TIMEOUT: TimeoutError,
    **{name: kind for kind, names in DEATHS.items() for name in names},
}
_NOT_IMPORTED = "Runtime.ImportModuleError"
_DECLARE = (
    "a package has what the nearest pyproject.toml declares as dependencies, and the files that "
    "lambda.include names"
)
MOST_TEXT = 8_000
"""Characters of an error's text that are reported; Step Functions keeps 32,768 of a cause."""
_JOB_FAILED = "States.TaskFailed"
_JOB_OUT_OF_TIME = "Job attempt duration exceeded timeout"


def error_names(exceptions: Sequence[type[BaseException]]) -> tuple[str, ...]:
    """The names by which AWS knows these exceptions; those of deaths are among them.

    The runtime raises a subclass under the name of its class here (see `lokki.call.retried_as`).
    For ``Exception``, everything that a task can fail with, including timeouts and lost processes.
    """
    if covers_all(exceptions):
        return ("States.TaskFailed", "States.Timeout")
    names = {each.__name__ for each in exceptions}
    return tuple(sorted(names | set(death_names(exceptions))))


def death_names(exceptions: Sequence[type[BaseException]]) -> tuple[str, ...]:
    """The names of AWS's errors among these exceptions: timeouts, lost processes."""
    found = (names for kind, names in DEATHS.items() if issubclass(kind, tuple(exceptions)))
    return tuple(sorted(name for names in found for name in names))


def is_death(name: str) -> bool:
    """Whether AWS reports the end of a process under this name."""
    return name in _KINDS


def is_retried(name: str, exceptions: Sequence[type[BaseException]]) -> bool:
    """Whether a policy for these exceptions retries an error that AWS reports under this name."""
    if (kind := _KINDS.get(name)) is not None:
        return issubclass(kind, tuple(exceptions))
    if covers_all(exceptions):
        return name not in never_retried().difference(each.__name__ for each in exceptions)
    return name in error_names(exceptions)


def covers_all(exceptions: Sequence[type[BaseException]]) -> bool:
    """Whether all exceptions are among these."""
    return any(issubclass(Exception, each) for each in exceptions)


def as_here(error: str, cause: str) -> tuple[str, str]:
    """The name and text of an error that AWS reports; those of a death are as locally."""
    told = _read(cause)
    text = str(told.get("errorMessage", cause))
    if error in _KINDS:
        return _KINDS[error].__name__, f"{error}: {text}"
    if error == _JOB_FAILED and "JobId" in told:
        container = told.get("Container", {})
        ended = told.get("StatusReason"), container.get("ExitCode"), container.get("Reason")
        return of_job(told["JobId"], *ended)
    return error, f"{text}: {_DECLARE}" if error == _NOT_IMPORTED else text


def trace_of(cause: str) -> str:
    """The traceback in what Lambda says of an error."""
    frames = _read(cause).get("stackTrace")
    return "".join(map(str, frames)) if isinstance(frames, list) else ""


def _read(cause: str) -> Mapping[str, Any]:
    """What Lambda or Batch says of an end, in JSON; nothing if this is a text."""
    try:
        told = json.loads(cause)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def of_job(job: str, reason: str | None, code: int | None, why: str | None) -> tuple[str, str]:
    """What ended a job that has reported nothing: its time, its process, or that it never began.

    ``reason`` is that of its status, ``why`` that of its container. Their form is as recorded in
    ``layers/hls_lambda_layer/python/hls_lambda_layer/batch_test_events.py`` of
    https://github.com/NASA-IMPACT/hls-orchestration.
    """
    text = f"Batch job {job}: {reason or 'Batch reports no reason'}"
    text += f" with exit code {code}" if code is not None else ""
    text += f": {why}" if why else ""
    if reason is not None and reason.startswith(_JOB_OUT_OF_TIME):
        return TimeoutError.__name__, text
    return (_JOB_FAILED if code is None else WorkerDied.__name__), text


def reported(name: str, text: str) -> Exception:
    """An error of the builtin kind with this name, as AWS reports a user's."""
    made: type[Exception] = type(encodable(name), (Exception,), {"__module__": "builtins"})
    return made(encodable(text[:MOST_TEXT]))


def encodable(text: str) -> str:
    """A text with the escapes of lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()
