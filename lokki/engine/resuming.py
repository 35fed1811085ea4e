"""What a resume is going to do: which items it runs again, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lokki.errors import DefinitionError, FingerprintError
from lokki.graph import FlowGraph
from lokki.logging import counted
from lokki.model import structure
from lokki.stages import MapStage, Stage
from lokki.store.history import History
from lokki.store.reopen import Reopening
from lokki.store.rows import StageRow
from lokki.store.runs import RunRecord, refuse_removing
from lokki.wording import Arguments, Wording

R = TypeVar("R")
_FAILED = Arguments(failed=True)
_WHY = {"failed": "that failed", "paused": "that are left on AWS"}


@dataclass(frozen=True, slots=True)
class Again:
    """What a resume is asked to do again, besides what has no result: at most one of the three.

    ``failed``: the failures that were tolerated; ``error``: those of them in this group (its id or
    the beginning of it); ``from_stage``: this stage, as a whole. ``force``: go on although the
    flow's structure has changed, which needs ``from_stage``.
    """

    failed: bool = False
    error: str | None = None
    from_stage: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if sum((self.failed, self.error is not None, self.from_stage is not None)) > 1:
            one, two, three = Arguments(failed=...), Arguments(error=...), Arguments(from_stage=...)
            raise DefinitionError(
                Wording("a resume takes one of ", one, ", ", two, " and ", three, ", not several")
            )


@dataclass(frozen=True, slots=True)
class Plan(Generic[R]):
    """What a resume does: with which graph, in words, and what it takes back first.

    ``queued``: only if the run still waits in the queue of a service, by whose order it is.
    """

    run_id: str
    graph: FlowGraph[R]
    told: tuple[str, ...]
    reopening: Reopening | None = None
    queued: bool = False

    @property
    def seen(self) -> str:
        """The fingerprint that the run had when this was planned."""
        return self.reopening.seen if self.reopening else self.graph.fingerprint


def plan(history: History, run: RunRecord, graph: FlowGraph[R], again: Again) -> Plan[R]:
    """What resuming a run comes to.

    Raises RunNotFound when the run is being removed, FingerprintError when the flow's structure has
    changed and that is not forced, DefinitionError when there is no such stage or group, or nothing
    to do again.
    """
    refuse_removing(run)
    _check_structure(run, graph, again)
    begun = history.stages(run.id)
    reopening = _reopening(history, run, graph, begun, again)
    if reopening is None and run.status == "succeeded":
        told = [f"run {run.id} has succeeded: nothing is to be done again"]
    else:
        told = list(_told(history, graph, begun, reopening))
    stay = sum(stage.tolerated for stage in begun) if reopening is None else 0
    if stay:
        items = counted(stay, "item")
        told.append(
            Wording(f"tolerated failures stay as they are: {items} (", _FAILED, " runs them again)")
        )
    return Plan(run.id, graph, tuple(told), reopening)


# ---- what is taken back --------------------------------------------------------------------------


def _check_structure(run: RunRecord, graph: FlowGraph[object], again: Again) -> None:
    if again.force and again.from_stage is None:
        raise DefinitionError(
            "to force a resume, say which stage to start from; the flow's are "
            + ", ".join(stage.name for stage in graph.stages)
        )
    if graph.fingerprint != run.fingerprint and not again.force:
        names = [stage.name for stage in graph.stages]
        first = names[min(_unchanged(run, graph), len(names) - 1)]
        raise FingerprintError(
            Wording(
                f"run {run.id} cannot be resumed: the flow's structure has changed\n"
                f"  it was started as: {_chain(run)}\n"
                f"  the code is now:   {graph.shape}\n"
                "start a new run, resume with the code it was started with, or keep the results "
                f"before '{first}' and do the rest anew: ",
                Arguments(force=True, from_stage=first),
            )
        )


def _unchanged(run: RunRecord, graph: FlowGraph[object]) -> int:
    """How many of the flow's first stages are as the run was started."""
    return structure.unchanged(structure.loaded(run.structure), graph.structure)


def _chain(run: RunRecord) -> str:
    return structure.text_of(structure.loaded(run.structure))


def _reopening(
    history: History,
    run: RunRecord,
    graph: FlowGraph[object],
    begun: list[StageRow],
    again: Again,
) -> Reopening | None:
    """What is to be taken back; None when what has no result yet is all there is to do."""
    prints = graph.fingerprint, structure.dumped(graph.structure), run.fingerprint
    position, group = None, None
    if again.from_stage is not None:
        return Reopening(
            _position(again.from_stage, again.force, run, graph, begun), True, None, *prints
        )
    if again.error is not None:
        position, group = _group(history, run, begun, again.error)
    elif again.failed:
        position = next((stage.position for stage in begun if stage.tolerated), None)
        if position is None and not any(stage.failed for stage in begun):
            raise DefinitionError(
                Wording(f"run {run.id} has no failed items: resume it without ", _FAILED)
            )
    return None if position is None else Reopening(position, False, group, *prints)


def _position(
    name: str, force: bool, run: RunRecord, graph: FlowGraph[object], begun: list[StageRow]
) -> int:
    """The place of the stage to start from; with ``force`` the run need not have come to it."""
    names = [stage.name for stage in graph.stages]
    if name not in names:
        for stage in graph.stages:
            if name in (call.name for call in stage.calls):
                begin = Arguments(from_stage=stage.name)
                raise DefinitionError(Wording(f"step '{name}' is in stage '{stage.name}': ", begin))
        raise DefinitionError(f"the flow has no stage '{name}'; it has {', '.join(names)}")
    position = names.index(name)
    reached = sum(stage.finished is not None for stage in begun)
    if position > reached and not force:
        raise DefinitionError(
            f"run {run.id} has not come to stage '{name}': the last to start from is "
            f"'{names[reached]}'"
        )
    kept = _unchanged(run, graph)
    if position > kept:
        raise DefinitionError(
            f"run {run.id} has no results for stage '{names[kept]}' as it is now: start from it or "
            "from one before it\n"
            f"  the run was started as: {_chain(run)}\n"
            f"  the code is now:        {graph.shape}"
        )
    return position


def _group(
    history: History, run: RunRecord, begun: list[StageRow], name: str
) -> tuple[int | None, str]:
    """The first stage that tolerates failures of a group, if one does, and the group's id."""
    groups = [(stage.position, group) for stage in begun for group in history.groups(stage)]
    found = sorted({group.id for _, group in groups if group.id.startswith(name)})
    if not found:
        known = ", ".join(dict.fromkeys(group.id for _, group in groups)) or "none"
        raise DefinitionError(f"run {run.id} has no group of errors '{name}'; it has {known}")
    if len(found) > 1:
        raise DefinitionError(
            f"'{name}' is the beginning of several groups of errors ({', '.join(found)}); "
            "give more of it"
        )
    tolerated = [place for place, group in groups if group.id == found[0] and group.tolerated_count]
    return next(iter(tolerated), None), found[0]


# ---- in words ------------------------------------------------------------------------------------


def _told(
    history: History,
    graph: FlowGraph[object],
    begun: list[StageRow],
    reopening: Reopening | None,
) -> Iterator[str]:
    """What each stage that is not done has to do."""
    start = len(graph.stages) if reopening is None else reopening.position
    first = True
    for position, stage in enumerate(graph.stages):
        row = begun[position] if position < len(begun) else None
        if position == start and reopening is not None and reopening.whole:
            yield f"{stage.name}: all of {_known(stage, row)}, as asked for"
        elif position > start or row is None:
            yield f"{stage.name}: {'has not begun' if first else 'runs after that'}"
        elif position == start and reopening is not None:
            again = _tolerated(history, row, reopening.group), _why(reopening.group)
            yield f"{stage.name}: {_items([again, *_open(history, row)], row)}"
        elif row.finished is None:
            yield f"{stage.name}: {_items(_open(history, row), row)}"
        else:
            continue
        first = False
    if first:
        yield "every stage has its results: nothing is to be done again"


def _known(stage: Stage, row: StageRow | None) -> str:
    """How much a stage is, as far as it is known."""
    is_map = isinstance(stage, MapStage)
    return f"its {row.total:,} items" if is_map and row and row.kind == "map" else "it"


def _tolerated(history: History, row: StageRow, group: str | None) -> int:
    if group is None:
        return row.tolerated
    return sum(each.tolerated_count for each in history.groups(row) if each.id == group)


def _why(group: str | None) -> str:
    return f"that failed with {group}" if group else "that failed and were tolerated"


def _open(history: History, row: StageRow) -> list[tuple[int, str]]:
    """How many items of a stage have no result, and why."""
    counts = history.troubled(row)
    del counts["tolerated"]
    unknown = row.total - row.succeeded - row.tolerated - counts.total()
    told = [(count, _WHY.get(why, why)) for why, count in counts.items()]
    return [*told, (unknown, "without a recorded result")] if unknown else told


def _items(counts: list[tuple[int, str]], stage: StageRow) -> str:
    """Items that run again: how many, and why."""
    if not counts:
        return "nothing, all of it has its results"
    (count, why), *others = counts
    if stage.kind != "map":
        return f"its call {why}"
    parts = [f"{count:,} of {stage.total:,} items {why}"]
    parts += [f"{count:,} {why}" for count, why in others]
    return ", ".join(parts[:-1]) + f", and {parts[-1]}" if others else parts[0]
