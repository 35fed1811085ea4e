"""Plans a resume: which items run again, and why, for runs in the journal and on AWS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lokki.errors import DefinitionError, FingerprintError
from lokki.logging import counted
from lokki.model.run import FailureGroup
from lokki.model.structure import StageKind, StageStructure, Structure, text_of, unchanged
from lokki.wording import Arguments, Wording

_FAILED = Arguments(failed=True)

Unfinished: TypeAlias = list[tuple[int, str]]
"""How many items have no result, and why: ``(3, "that failed")``."""


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """What a resume runs again, besides what has no result: at most one of the first three.

    ``failed``: the tolerated failures. ``error``: those of them in this group (its id or the
    beginning of it). ``from_stage``: this whole stage. ``force``: resume although the flow's
    structure has changed; needs ``from_stage``. ``deployed``, on AWS: a new run continues with the
    code that is deployed now; otherwise, where AWS can start the run again, it keeps its own.
    ``no_cache``: from now on, the run's steps use no cached results, as from its start if it began
    so.
    """

    failed: bool = False
    error: str | None = None
    from_stage: str | None = None
    force: bool = False
    deployed: bool = False
    no_cache: bool = False

    def __post_init__(self) -> None:
        if sum((self.failed, self.error is not None, self.from_stage is not None)) > 1:
            one, two, three = Arguments(failed=...), Arguments(error=...), Arguments(from_stage=...)
            raise DefinitionError(
                Wording("a resume takes one of ", one, ", ", two, " and ", three, ", not several")
            )


Again = ResumeOptions
"""The name of `ResumeOptions` before 0.2.0."""


class BegunStage(Protocol):
    """A stage that has begun: a `lokki.model.run.Stage`, or a row of the journal."""

    @property
    def position(self) -> int: ...
    @property
    def kind(self) -> StageKind: ...
    @property
    def finished(self) -> object | None: ...
    @property
    def total(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def tolerated(self) -> int: ...


class Resumable(Protocol):
    """A run that can be resumed, as its backend knows it.

    ``before`` is the structure that it started with, ``now`` that of the code that resumes it.
    ``code`` says where that code is ("the code", "what is deployed").
    """

    id: str
    code: str
    before: Structure
    now: Structure
    succeeded: bool

    @property
    def begun(self) -> Sequence[BegunStage]: ...

    def groups(self, position: int) -> Sequence[FailureGroup]:
        """The failures of a stage that has begun."""
        ...

    def unfinished(self, position: int) -> Unfinished:
        """The items of a stage that have no result, without tolerated failures."""
        ...


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a resume does; ``summary`` describes it.

    ``start`` is the first stage whose results are discarded; None: none are, and what has no result
    runs. ``whole``: every item of that stage runs again; otherwise its tolerated failures, with
    ``group`` only those of that group.
    """

    summary: tuple[str, ...]
    start: int | None
    whole: bool
    group: str | None


def plan_resume(run: Resumable, again: ResumeOptions) -> Resumption:
    """The plan of a resume.

    Raises FingerprintError when the flow's structure has changed and ``force`` is not set,
    DefinitionError when there is no such stage or group, or nothing to run again.
    """
    _check_structure(run, again)
    start, group = _start(run, again)
    whole = again.from_stage is not None
    if start is None and run.succeeded:
        summary: list[str] = [f"run {run.id} has succeeded: nothing runs again"]
    else:
        summary = list(_summary(run, start, whole, group))
    stay = sum(stage.tolerated for stage in run.begun) if start is None else 0
    if stay:
        items = counted(stay, "item")
        summary.append(
            Wording(f"tolerated failures stay as they are: {items} (", _FAILED, " runs them again)")
        )
    return Resumption(tuple(summary), start, whole, group)


# ---- what is taken back --------------------------------------------------------------------------


def _check_structure(run: Resumable, again: ResumeOptions) -> None:
    names = [stage.name for stage in run.now]
    if again.force and again.from_stage is None:
        raise DefinitionError(
            f"to force a resume, name the stage to start from: {', '.join(names)}"
        )
    if run.before != run.now and not again.force:
        first = names[min(unchanged(run.before, run.now), len(names) - 1)]
        raise FingerprintError(
            Wording(
                f"run {run.id} cannot be resumed: the flow's structure has changed\n"
                f"{_both(run)}\n"
                f"start a new run, resume with the code it was started with, or keep the results "
                f"before '{first}' and run the rest again: ",
                Arguments(force=True, from_stage=first),
            )
        )


def _both(run: Resumable) -> str:
    before, now = "it was started as:", f"{run.code} is now:"
    width = max(len(before), len(now))
    return f"  {before:{width}} {text_of(run.before)}\n  {now:{width}} {text_of(run.now)}"


def _start(run: Resumable, again: ResumeOptions) -> tuple[int | None, str | None]:
    """The stage to start from, and the group of its failures that run again."""
    if again.from_stage is not None:
        return _position(run, again.from_stage, again.force), None
    if again.error is not None:
        return _group(run, again.error)
    if not again.failed:
        return None, None
    tolerated = [stage.position for stage in run.begun if stage.tolerated]
    if not tolerated and not any(stage.failed for stage in run.begun):
        raise DefinitionError(
            Wording(f"run {run.id} has no failed items: resume it without ", _FAILED)
        )
    return (tolerated[0] if tolerated else None), None


def _position(run: Resumable, name: str, force: bool) -> int:
    """The index of the stage to start from; with ``force``, the run need not have reached it."""
    names = [stage.name for stage in run.now]
    if name not in names:
        for stage in run.now:
            if name in stage.steps:
                begin = Arguments(from_stage=stage.name)
                raise DefinitionError(Wording(f"step '{name}' is in stage '{stage.name}': ", begin))
        raise DefinitionError(f"the flow has no stage '{name}'; it has {', '.join(names)}")
    position, kept = names.index(name), unchanged(run.before, run.now)
    reached = sum(stage.finished is not None for stage in run.begun)
    if position > reached and not force:
        raise DefinitionError(
            f"run {run.id} has not reached stage '{name}': the last stage to start from is "
            f"'{names[reached]}'"
        )
    if position > kept:
        raise DefinitionError(
            f"run {run.id} has no results for stage '{names[kept]}' as it is now: start from it "
            f"or from an earlier stage\n{_both(run)}"
        )
    return position


def _group(run: Resumable, name: str) -> tuple[int | None, str]:
    """The first stage with tolerated failures of a group, if any, and the group's id."""
    groups = [
        (stage.position, group) for stage in run.begun for group in run.groups(stage.position)
    ]
    found = sorted({group.id for _, group in groups if group.id.startswith(name)})
    if not found:
        known = ", ".join(dict.fromkeys(group.id for _, group in groups)) or "none"
        raise DefinitionError(f"run {run.id} has no failure group '{name}'; it has {known}")
    if len(found) > 1:
        raise DefinitionError(
            f"'{name}' is the beginning of several failure groups ({', '.join(found)}); "
            "give more characters"
        )
    tolerated = [at for at, group in groups if group.id == found[0] and group.tolerated_count]
    return next(iter(tolerated), None), found[0]


# ---- in words ------------------------------------------------------------------------------------


def _summary(run: Resumable, start: int | None, whole: bool, group: str | None) -> Iterator[str]:
    """What each unfinished stage has to do."""
    begun = {stage.position: stage for stage in run.begun}
    first = True
    for position, stage in enumerate(run.now):
        row = begun.get(position)
        if position == start and whole:
            yield f"{stage.name}: all of {_known(stage, row)}, as requested"
        elif row is None or (start is not None and position > start):
            yield f"{stage.name}: {'has not begun' if first else 'runs after that'}"
        elif position == start:
            counts = [_tolerated(run, row, group), *run.unfinished(position)]
            yield f"{stage.name}: {_items(counts, row)}"
        elif row.finished is None:
            yield f"{stage.name}: {_items(run.unfinished(position), row)}"
        else:
            continue
        first = False
    if first:
        yield "every stage has its results: nothing runs again"


def _known(stage: StageStructure, row: BegunStage | None) -> str:
    """The size of a stage, as far as it is known."""
    is_map = stage.kind == "map" and row is not None and row.kind == "map"
    return f"its {row.total:,} items" if is_map and row else "it"


def _tolerated(run: Resumable, row: BegunStage, group: str | None) -> tuple[int, str]:
    """How many tolerated failures a stage has, all or of a group, and why they run again."""
    if group is None:
        return row.tolerated, "that failed and were tolerated"
    alike = (each for each in run.groups(row.position) if each.id == group)
    return sum(each.tolerated_count for each in alike), f"that failed with {group}"


def _items(counts: Unfinished, stage: BegunStage) -> str:
    """Items that run again: how many, and why."""
    if not counts:
        return "nothing: it has all its results"
    (count, why), *others = counts
    if stage.kind != "map":
        return f"its call {why}"
    parts = [f"{count:,} of {stage.total:,} items {why}"]
    parts += [f"{count:,} {why}" for count, why in others]
    return ", ".join(parts[:-1]) + f", and {parts[-1]}" if others else parts[0]
