"""AWS's names for processes that ended, or were ended, without a report of their own."""

from __future__ import annotations

from collections.abc import Mapping

from lokki.errors import WorkerDied

DEATHS: Mapping[type[Exception], tuple[str, ...]] = {
    TimeoutError: ("States.Timeout", "Sandbox.Timedout"),
    WorkerDied: ("Runtime.ExitError", "Runtime.OutOfMemory", "Lambda.Unknown"),
}
"""The names of AWS, by what such an end is locally
(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html)."""
_OURS = {name: kind.__name__ for kind, names in DEATHS.items() for name in names}


def as_here(error: str, cause: str) -> tuple[str, str]:
    """The name and text of an error that AWS reports; those of a death are as locally."""
    return (_OURS[error], f"{error}: {cause}") if error in _OURS else (error, cause)
