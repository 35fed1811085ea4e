"""A run, its stages, and their failures.

Durations are seconds of work on the run, so far if it has not ended.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from lokki.model.base import Example, model
from lokki.model.failure import Error
from lokki.model.status import RunStatus
from lokki.model.structure import StageKind, StageStructure
from lokki.model.times import Time

LOCAL: Literal["local"] = "local"
"""The name of a journal in ``--on`` and ``where``; a server's name is its URL."""
AWS: Literal["aws"] = "aws"
"""Their name for executions of deployed flows."""


@model
class StackFrame:
    """A place in the user's code."""

    file: str
    line: int
    function: str


@model
class FailureGroup:
    """A group of equal failures; ``items`` are the first ones."""

    id: Annotated[str, Example("8a73ee")]
    count: int
    failed: int
    retrying: int
    """those with more attempts, which a run that has ended makes when it is resumed"""
    step: str
    type: Annotated[str, Example("ValueError")]
    message: str
    varies: bool
    """the numbers in their messages differ"""
    place: StackFrame | None
    items: list[int]
    tolerated: bool
    """none of them ends the run"""
    traceback: str

    @property
    def tolerated_count(self) -> int:
        """How many of them do not end the run."""
        return self.count - self.failed - self.retrying


@model
class InnerStep:
    """One of several steps in a map that each item goes through."""

    step: Annotated[str, Example("crunch")]
    succeeded: int
    """items that have passed it"""
    failed_attempts: int
    mean_seconds: float | None
    """of a successful call, as measured for some or all of them; null: for none"""
    reused: int = 0
    """results taken from the cache, without a call"""


@model
class Stage:
    """A stage that has begun; lists of runs leave out ``inner`` and ``failures``."""

    position: int
    name: Annotated[str, Example("crunch")]
    kind: StageKind
    started: Time
    finished: Time | None
    duration: float
    """seconds in which it was worked on, so far"""
    total: int
    succeeded: int
    failed: int
    tolerated: int
    retrying: int
    """those that wait for another attempt; none in a run that has ended"""
    inner: list[InnerStep] = field(default_factory=list)
    """the inner steps of a map that has several"""
    failures: list[FailureGroup] = field(default_factory=list)
    reused: int = 0
    """of the succeeded items, those whose result was taken from the cache"""

    @property
    def done(self) -> int:
        """How many items have their outcome."""
        return self.succeeded + self.failed + self.tolerated


@model
class Owner:
    """The process that runs the run; if it is not alive, the run is lost."""

    host: str
    process: int
    alive: bool


@model
class Resume:
    """A resume: ``by`` which command line, and what ran ``again``, in words."""

    at: Time
    by: str | None
    again: list[str]


@model
class Needs:
    """What a server needs to take a waiting run; null: anything will do."""

    source: str | None
    """the file or module that it offers"""
    prefix: str | None
    """`sys.prefix` of its Python"""
    folder: str | None
    """where it was started"""


@model
class Run:
    """A run and the stages that have begun."""

    id: Annotated[str, Example("20260203-103000-000abcde")]
    where: Literal["local", "aws"]
    """in a journal, this machine's or a server's, or an execution on AWS"""
    flow: Annotated[str, Example("crunching")]
    status: RunStatus
    params: dict[str, Any]
    params_cut: bool
    """long values are cut to texts: `/runs/RUN/params` has the full ones"""
    created: Time
    started: Time | None
    finished: Time | None
    duration: float | None
    """seconds in which it was worked on, so far"""
    cancel_requested: Time | None
    removing: bool
    chain: Annotated[str, Example("numbers → map(crunch) → total")]
    """`structure` for people"""
    structure: list[StageStructure] = field(default_factory=list)
    """the stages of the flow at its start; empty if not recorded"""
    stages: list[Stage]
    error: Error | None
    source: str | None
    started_by: str | None
    owner: Owner | None
    folder: str | None
    """where it was started or last resumed, if recorded"""
    resumes: list[Resume] = field(default_factory=list)
    """only for a single run, not in lists"""
    waits_for: Needs | None = None
    """only for a single run that waits for a runner"""
    pause_requested: Time | None = None
    """of a run that is paused, or will be when its running calls have ended"""
    no_cache: bool = False
    """its steps take no results from the cache"""
    tags: Annotated[list[str], Example(["nightly"])] = field(default_factory=list)
    """of its flow, and those that it was started with"""
    lokki_version: str | None = None
    """of the process that last began or resumed it, if recorded"""
    python_version: Annotated[str | None, Example("3.13.1")] = None
    """likewise"""
    code: Annotated[str | None, Example("3f9a1c0d27be")] = None
    """digest of its steps' code then, as Python compiled it"""
    commit: str | None = None
    """of git, that was checked out then in the folder of the flow's file"""

    @property
    def is_lost(self) -> bool:
        """Whether its process is gone, and it may be resumed."""
        return self.status == "running" and not self.removing and not self._has_process

    @property
    def goes_on(self) -> bool:
        """Whether it is running, waits for a runner, or can be unpaused."""
        waits = self.status in ("queued", "paused") and self.owner is None
        return self.finished is None and not self.removing and (waits or self._has_process)

    @property
    def _has_process(self) -> bool:
        if self.where == AWS:  # nothing is lost there
            return True
        return self.owner is not None and self.owner.alive


@model
class RunList:
    """A page of runs, the newest first; ``next`` is the ``before`` of the next page."""

    runs: list[Run]
    next: str | None


@model
class AllParams:
    """All parameters of a run, secrets as `***`."""

    params: dict[str, Any]


@model
class Plan:
    """What a resume would do; ``anything``: whether it would do anything."""

    summary: Annotated[list[str], Example(["map(crunch) runs again from item 7 on"])]
    anything: bool
    told: list[str]
    """`summary`, by its name in 0.1"""


@model
class Tuned:
    """A running map with another concurrency: how many of its items run at a time.

    With `batch_size`, how many of its batches.
    """

    stage: Annotated[str, Example("crunch")]
    concurrency: Annotated[int, Example(200)]
    before: int | None
    """null: what the flow and its process allow"""


@model
class Result:
    """A flow's result; if JSON cannot hold it, its type and where to download it."""

    result: Any
    type: str | None = None
    bytes: int | None = None
    preview: dict[str, Any] | None = None
    """of a DataFrame: `columns`, the first `rows`, the `total` of rows, and what is `cut`"""
    download: str | None = None
