"""Every error that lokki raises.

LokkiError
├── DefinitionError         the flow is wrong (yours to fix)
│   ├── ChainTypeError      something else stands where a step or a chain must
│   ├── ChainAttributeError a step or a chain has no such link
│   └── FingerprintError    the flow's structure differs from the one the run started with
├── ParameterError          a run was started with wrong parameters (yours to fix)
├── ConfigError             a configuration file, variable or argument is wrong (yours to fix)
├── BuildError              a flow cannot be built for AWS, or its build cannot be rehearsed
├── AwsError                AWS refuses a request or cannot be reached
├── RunError                a run ended without a result
│   ├── RunFailed           a step failed; carries step, index, attempt and traceback
│   └── RunCancelled        the run was cancelled before it ended
├── WorkerDied               a worker process died in a call (retried like a step's own error)
├── RetryLater              raised by a step: its item is tried again later (in `lokki.retry`)
├── ServerError             a server refuses a request or cannot be reached
├── PayloadError            a value cannot be encoded, or a stored one cannot be read or found
│   ├── ResultUnreadable    a recorded result cannot be read back; carries its stage
│   ├── ValueUnreadable     a value can be pickled but not unpickled
│   └── PayloadTooLarge     a stored value is larger than its reader accepts
└── JournalError            the journal cannot be opened, read or written
    ├── JournalVersionError the journal was written by a newer lokki
    ├── JournalGone         the journal's file was removed, moved or replaced while it was in use
    ├── JournalUnreachable  the journal's PostgreSQL server is away, or not ready yet
    ├── RunNotFound         no run, or more than one, has this id
    ├── StageNotFound       a run has begun no such stage
    ├── AttachmentNotFound  a run has shown nothing of this name
    └── RunOwned            another process owns this run
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lokki.wording import Wording, Words

if TYPE_CHECKING:
    from lokki.model.failure import Failure


class Picklable:
    """Lets an error reach another process, or be copied, with its type and fields.

    Python would make it again from ``args``, its text, and fail where ``__init__`` takes something
    else.
    """

    args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class LokkiError(Picklable, Exception):
    """Base of every error that lokki raises on purpose. Its text is meant for users as it is.

    ``place`` is the line of a flow's body that caused it, such as ``birds.py:12``, or empty. The
    text begins with it.
    """

    place: str = ""

    def __str__(self) -> str:
        return self._placed(super().__str__())

    def said(self, words: Words) -> str:
        """The text, with the arguments that it names in these words instead of Python's."""
        text = self.args[0] if self.args else ""
        return self._placed(text.said(words)) if isinstance(text, Wording) else str(self)

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows: the user's own frames, the text and the notes."""
        from lokki.ipython import shown_lines

        return shown_lines(self)

    def _placed(self, text: str) -> str:
        return f"{self.place}: {text}" if self.place else text


class DefinitionError(LokkiError):
    """A step, chain or flow is written in a way that cannot work."""


class ChainTypeError(DefinitionError, TypeError):
    """A step or a chain is used as something else, or something else is used in its place."""


class ChainAttributeError(DefinitionError, AttributeError):
    """A step or a chain has no such attribute."""


class FingerprintError(DefinitionError):
    """A run is resumed with a flow whose structure differs from the one it started with."""


class ParameterProblem(NamedTuple):
    """What is wrong with one parameter; ``name`` is None where it concerns no single one."""

    name: str | None
    message: str


class ParameterError(LokkiError):
    """A flow parameter is unknown, missing or of the wrong type.

    ``problems`` lists everything that is wrong; ``name`` is the parameter of the first problem.
    """

    def __init__(self, message: str, problems: Sequence[ParameterProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (ParameterProblem(None, message),)

    @property
    def name(self) -> str | None:
        return self.problems[0].name

    @classmethod
    def of(cls, problems: Sequence[ParameterProblem], owner: str = "") -> Self:
        """The error for several problems: a line for each, preceded by ``owner`` if given."""
        begin = f"{owner}: " if owner else ""
        lines = [part for each in problems for part in ("\n", begin, each.message)]
        return cls(Wording(*lines[1:]), problems)


class ConfigError(LokkiError):
    """A configuration file cannot be read, or a configured value is wrong."""


class BuildError(LokkiError):
    """A flow cannot be built for AWS, or its build cannot be rehearsed."""


class AwsError(LokkiError):
    """AWS refuses a request or cannot be reached; ``code`` is AWS's name for the error, if any."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class RunError(LokkiError):
    """A run ended without a result."""

    def __init__(self, message: str, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailed(RunError):
    """A step failed for good, and the run with it.

    Attributes: ``run_id``, ``failure`` (a `Failure`) and its fields: ``step`` (stage name of the
    call), ``index`` (item of the map, None outside one), ``attempt`` (from 1), ``type`` (name
    of the exception's class), ``reason`` (its text) and ``traceback`` (as text, the user's frames
    only).
    """

    def __init__(self, run_id: str, failure: Failure) -> None:
        where = f"step '{failure.step}'"
        if failure.index is not None:
            where += f", item {failure.index}"
        text = f"{where}, attempt {failure.attempt}: {failure.type}: {failure.reason}"
        super().__init__(text, run_id)
        self.failure = failure

    def _render_traceback_(self) -> list[str]:
        from lokki.ipython import with_cells

        return [*with_cells(self.traceback.splitlines()), "", *super()._render_traceback_()]

    @property
    def step(self) -> str:
        return self.failure.step

    @property
    def index(self) -> int | None:
        return self.failure.index

    @property
    def attempt(self) -> int:
        return self.failure.attempt

    @property
    def type(self) -> str:
        return self.failure.type

    @property
    def reason(self) -> str:
        return self.failure.reason

    @property
    def traceback(self) -> str:
        return self.failure.traceback


class RunCancelled(RunError):
    """The run was cancelled. Its results so far are recorded, and it can be resumed."""


class RunLeft(RunError):
    """A run of a service's queue is paused, and has left the process that ran it."""


class WorkerDied(LokkiError):
    """A worker process was killed or crashed during a call of a step."""


class ClusterError(LokkiError):
    """A Dask cluster cannot be used: its scheduler or workers are not there, or do not fit."""


class ServerError(LokkiError):
    """A server refuses a request (``status`` is HTTP's) or cannot be reached (None)."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


class PayloadError(LokkiError):
    """A value cannot be encoded, or a stored payload is missing or damaged."""


class ResultUnreadable(PayloadError):
    """A recorded result cannot be read back; ``stage`` is the stage that can make it again."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class ValueUnreadable(PayloadError):
    """A value can be pickled, but its pickle cannot be unpickled."""


class PayloadTooLarge(PayloadError):
    """A stored value is larger than its reader accepts; ``size``: bytes of its pickle."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the stored value is too large to be shown: {size:,} bytes")
        self.size = size


class JournalError(LokkiError):
    """The journal cannot be opened, read or written."""


class JournalVersionError(JournalError):
    """The journal was written by a newer version of lokki."""


class JournalGone(JournalError):
    """The journal's file is no longer the one that was opened."""


class JournalUnreachable(JournalError):
    """The journal's PostgreSQL server does not answer, or does not take connections yet."""


class RunNotFound(JournalError):
    """No run has this id, several ids begin with it, or the run is being removed."""


class StageNotFound(JournalError):
    """A run has begun no such stage."""


class AttachmentNotFound(JournalError):
    """A run has shown nothing of this name."""


class RunOwned(JournalError):
    """Another living process owns this run."""


class NotTunable(JournalError):
    """A run has no map whose concurrency can be changed now."""


class NotPausable(JournalError):
    """A run cannot be paused, or continued, as it is."""


class KeyReused(JournalError):
    """An idempotency key was used before, with another request."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the key {key!r} was used for a run of this flow with other parameters: give the same "
            "parameters, or another key"
        )


class ResultError(Picklable, Exception):
    """A call's result cannot be used; ``kind`` is the type of the error in the report.

    ``retried``: another attempt may return something else, if the step's policy retries a
    PayloadError.
    """

    def __init__(self, kind: str, reason: str, retried: bool = False) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retried = retried


def described(error: BaseException) -> str:
    """An error in words, ``ValueError: why``, however odd it is."""
    return f"{name_of(error)}: {text_of(error)}"


def name_of(error: BaseException) -> str:
    """The name of an error's class."""
    return str(vars(type)["__name__"].__get__(type(error)))  # not a metaclass's property


def text_of(error: BaseException) -> str:
    """The text of an error, always a plain ``str``: a subclass might not be storable."""
    try:
        return str.__str__(str(error))
    except BaseException as problem:
        return f"<{name_of(error)} whose text cannot be shown: {name_of(problem)}>"


def never_retried() -> frozenset[str]:
    """The names of what another attempt does not fix, whatever a step's policy names."""
    kinds: list[type[BaseException]] = [DefinitionError, ParameterError, ResultError]
    for each in kinds:
        kinds += each.__subclasses__()
    return frozenset(kind.__name__ for kind in kinds)
