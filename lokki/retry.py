"""Retries: a step's policy, how often a failed call is tried again, and its own wish for later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lokki.errors import DefinitionError, LokkiError
from lokki.numeric import number, whole
from lokki.wording import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """Retry policy of a step, the same locally, in Lambda and in Batch.

    ``retries``: how many times a failed call is tried again (0: never).
    ``delay``: seconds before the first retry. ``backoff``: factor from one wait to the next.
    ``max_delay``: the longest wait, in seconds. ``exceptions``: the exception classes to
    retry, with their subclasses; any other fails the call at once. An ExceptionGroup is retried
    when its own class, or that of every error in it and in its inner groups, is among them.

    Raises DefinitionError for negative or non-numeric values and for non-exceptions.
    """

    retries: int = 0
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 60.0
    exceptions: tuple[type[BaseException], ...] = (Exception,)

    def __post_init__(self) -> None:
        retries = whole(self.retries)
        if retries is None or retries < 0:
            raise DefinitionError(
                f"RetryConfig: retries must be a whole number from 0, not {self.retries!r}"
            )
        object.__setattr__(self, "retries", retries)
        for name in ("delay", "backoff", "max_delay"):
            value = number(getattr(self, name))
            if value is None or not 0 <= value < float("inf"):
                raise DefinitionError(
                    f"RetryConfig: {name} must be a number of at least 0, not "
                    f"{getattr(self, name)!r}"
                )
            object.__setattr__(self, name, value)
        classes = self.exceptions
        if isinstance(classes, list):
            classes = tuple(classes)
        elif not isinstance(classes, tuple):
            classes = (classes,)
        for item in classes:
            if not (isinstance(item, type) and issubclass(item, BaseException)):
                raise DefinitionError(
                    f"RetryConfig: exceptions contains {item!r}; give exception classes, "
                    "such as exceptions=(TimeoutError, OSError)"
                )
        object.__setattr__(self, "exceptions", classes)

    @classmethod
    def of(cls, value: RetryConfig | Mapping[str, Any] | None) -> RetryConfig:
        """The policy that ``value`` stands for: a policy, its dict form, or None (no retries)."""
        if value is None:
            return cls()
        if isinstance(value, RetryConfig):
            return value
        if not isinstance(value, Mapping):
            raise DefinitionError(
                f"retry must be a RetryConfig or a dict such as {{'retries': 3}}, not {value!r}"
            )
        if unknown := [key for key in value if key not in RETRY_OPTIONS]:
            key = unknown[0]
            near = nearest(str(key), RETRY_OPTIONS)
            hint = in_dict(near, value[key]) if near else f"it has {', '.join(RETRY_OPTIONS)}"
            raise DefinitionError(f"retry has no {key!r}; {hint}")
        return cls(**value)

    def wait(self, attempt: int) -> float:
        """Seconds to wait after attempt ``attempt`` (from 1) has failed."""
        if not self.delay:
            return 0.0
        try:
            return min(self.max_delay, self.delay * self.backoff ** (attempt - 1))
        except OverflowError:
            return self.max_delay


RETRY_OPTIONS = tuple(field.name for field in fields(RetryConfig))
"""What the dict form of a RetryConfig may have."""


def in_dict(option: str, value: object) -> str:
    """How an option of a retry policy is written."""
    return f'write retry={{"{option}": {value!r}}}'


class RetryLater(LokkiError):
    """Raised by a step: the item is tried again in ``seconds``, which uses up no attempt.

    For a service that is busy, say. ``most``: for how many seconds in all, counted from the item's
    first RetryLater (default: an hour); after that, it is an error like others. ``why`` is shown.
    On AWS, Step Functions waits times of its own, from 10 s to 5 minutes, for about an hour.

    Raises DefinitionError if these are no numbers of at least 0.
    """

    def __init__(self, seconds: float, why: str = "", most: float = 3600.0) -> None:
        for name, value in (("seconds", seconds), ("most", most)):
            given = number(value)
            if given is None or not 0 <= given < float("inf"):
                raise DefinitionError(
                    f"RetryLater: {name} must be a number of at least 0, not {value!r}"
                )
        super().__init__(why or f"try again in {seconds:g} s")
        self.seconds = float(seconds)
        self.most = float(most)
