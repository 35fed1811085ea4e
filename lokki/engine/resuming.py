"""Resumes of runs in the journal: with which graph, and which records are discarded first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from lokki.errors import DefinitionError
from lokki.graph import FlowGraph
from lokki.model import structure
from lokki.model.run import FailureGroup
from lokki.resumption import ResumeOptions, Unfinished, plan_resume
from lokki.store.history import History
from lokki.store.reopen import Reopening
from lokki.store.runs import RunRecord, refuse_removing
from lokki.wording import Arguments, Wording

R = TypeVar("R")
_WHY = {"failed": "that failed", "paused": "that are left on AWS"}


@dataclass(frozen=True, slots=True)
class Plan(Generic[R]):
    """What a resume does: its graph, a ``summary`` for people, and the records it discards first.

    ``queued``: the run as it waited in the queue of a service; it is resumed if it still does.
    ``no_cache``: from now on, its steps use no cached results.
    """

    run_id: str
    graph: FlowGraph[R]
    summary: tuple[str, ...]
    reopening: Reopening | None = None
    queued: RunRecord | None = None
    no_cache: bool = False

    @property
    def seen(self) -> str:
        """The fingerprint that the run had when this was planned."""
        return self.reopening.seen if self.reopening else self.graph.fingerprint


def plan(history: History, run: RunRecord, graph: FlowGraph[R], again: ResumeOptions) -> Plan[R]:
    """The plan of a resume.

    Raises RunNotFound when the run is being removed, DefinitionError for ``deployed``, and whatever
    `plan_resume` raises.
    """
    refuse_removing(run)
    if again.deployed:
        raise DefinitionError(
            Wording(Arguments(deployed=True), " is for runs on AWS: here, the current code runs")
        )
    planned = plan_resume(_Recorded(history, run, graph), again)
    if planned.start is None:
        return Plan(run.id, graph, planned.summary, no_cache=again.no_cache)
    prints = graph.fingerprint, structure.dumped(graph.structure), run.fingerprint
    reopening = Reopening(planned.start, planned.whole, planned.group, *prints)
    return Plan(run.id, graph, planned.summary, reopening, no_cache=again.no_cache)


class _Recorded:
    """A run of the journal, and the flow that resumes it."""

    code = "the code"

    def __init__(self, history: History, run: RunRecord, graph: FlowGraph[object]) -> None:
        self.id = run.id
        self.before = structure.loaded(run.structure)
        self.now = graph.structure
        self.succeeded = run.status == "succeeded"
        self.begun = [] if run.started is None else history.stages(run.id)
        self._history = history

    def groups(self, position: int) -> list[FailureGroup]:
        return self._history.groups(self.begun[position])

    def unfinished(self, position: int) -> Unfinished:
        stage = self.begun[position]
        counts = self._history.troubled(stage)
        del counts["tolerated"]
        unknown = stage.total - stage.succeeded - stage.tolerated - counts.total()
        known = [(count, _WHY.get(why, why)) for why, count in counts.items()]
        return [*known, (unknown, "without a recorded result")] if unknown else known
