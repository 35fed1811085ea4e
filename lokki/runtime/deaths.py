"""AWS's names for processes that ended, or were ended, without a report of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lokki.errors import WorkerDied

DEATHS: Mapping[type[Exception], tuple[str, ...]] = {
    TimeoutError: ("States.Timeout", "Sandbox.Timedout"),
    WorkerDied: ("Runtime.ExitError", "Runtime.OutOfMemory", "Lambda.Unknown"),
}
"""The names of AWS, by what such an end is locally
(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html)."""
_OURS = {name: kind.__name__ for kind, names in DEATHS.items() for name in names}
_NOT_IMPORTED = "Runtime.ImportModuleError"
_DECLARE = (
    "a package has what the nearest pyproject.toml declares as dependencies, and the files that "
    "lambda.include names"
)
_JOB_FAILED = "States.TaskFailed"
_JOB_OUT_OF_TIME = "Job attempt duration exceeded timeout"


def as_here(error: str, cause: str) -> tuple[str, str]:
    """The name and text of an error that AWS reports; those of a death are as locally."""
    told = _read(cause)
    text = str(told.get("errorMessage", cause))
    if error in _OURS:
        return _OURS[error], f"{error}: {text}"
    if error == _JOB_FAILED and "JobId" in told:
        return _of_job(told)
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


def _of_job(job: Mapping[str, Any]) -> tuple[str, str]:
    """What ended a job that has reported nothing: its time, its process, or that it never began.

    The form of a job is as recorded in ``layers/hls_lambda_layer/python/hls_lambda_layer/
    batch_test_events.py`` of https://github.com/NASA-IMPACT/hls-orchestration.
    """
    container, reason = job.get("Container", {}), job.get("StatusReason", "Batch reports no reason")
    code, why = container.get("ExitCode"), container.get("Reason")
    text = f"Batch job {job['JobId']}: {reason}"
    text += f" with exit code {code}" if code is not None else ""
    text += f": {why}" if why else ""
    if reason.startswith(_JOB_OUT_OF_TIME):
        return TimeoutError.__name__, text
    return (_JOB_FAILED if code is None else WorkerDied.__name__), text
