"""A run, its stages, and what failed in them.

Durations are seconds in which the run was worked on, so far if it goes on.
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
"""What ``--on`` and ``where`` say of a journal; a server is said by its URL."""
AWS: Literal["aws"] = "aws"
"""What they say of the executions of flows that are deployed."""


@model
class StackFrame:
    """Where in the user's code."""

    file: str
    line: int
    function: str


@model
class FailureGroup:
    """Failures that are alike; ``items`` are the first of them."""

    id: Annotated[str, Example("8a73ee")]
    count: int
    failed: int
    retrying: int
    step: str
    type: Annotated[str, Example("ValueError")]
    message: str
    varies: bool
    """others have other numbers in their message"""
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
    """One of several steps in a map, which each item goes through."""

    step: Annotated[str, Example("crunch")]
    succeeded: int
    """items that are past it"""
    failed_attempts: int
    mean_seconds: float | None
    """of a call that succeeded, as measured for some of them or all; null: none was"""


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
    inner: list[InnerStep] = field(default_factory=list)
    """the inner steps of a map that has several"""
    failures: list[FailureGroup] = field(default_factory=list)


@model
class Owner:
    """The process that has the run; if it is not alive, the run was lost."""

    host: str
    process: int
    alive: bool


@model
class Resume:
    """A resume: ``by`` a command line, and what was done ``again``, in words."""

    at: Time
    by: str | None
    again: list[str]


@model
class Needs:
    """What a server must be to take a waiting run; null: it does not matter."""

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
    """of a journal, this machine's or a server's, or an execution on AWS"""
    flow: Annotated[str, Example("crunching")]
    status: RunStatus
    params: dict[str, Any]
    params_cut: bool
    """long values are texts of their beginning: `/runs/RUN/params` has them whole"""
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
    """the stages of the flow as it was started; empty where that is not recorded"""
    stages: list[Stage]
    error: Error | None
    source: str | None
    started_by: str | None
    owner: Owner | None
    folder: str | None
    """where it was started or last resumed, if that is recorded"""
    resumes: list[Resume] = field(default_factory=list)
    """given for one run alone, not in lists"""
    waits_for: Needs | None = None
    """of one run that waits for a runner"""

    @property
    def is_lost(self) -> bool:
        """Whether its process is gone, and it may be resumed."""
        return self.status == "running" and not self.removing and not self._has_process

    @property
    def goes_on(self) -> bool:
        """Whether it may end by itself: it is at work, or waits for a runner."""
        waits = self.status == "queued" and self.owner is None
        return self.finished is None and not self.removing and (waits or self._has_process)

    @property
    def _has_process(self) -> bool:
        if self.where == AWS:  # which loses none
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
    """`summary`, as it was called in 0.1"""


@model
class Result:
    """A flow's result; for one that is no JSON, its type and where to download it."""

    result: Any
    type: str | None = None
    bytes: int | None = None
    download: str | None = None
