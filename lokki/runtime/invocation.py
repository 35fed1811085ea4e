"""An invocation in Lambda or Batch: one flow's step in this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO, cast

from lokki import logging, output
from lokki.graph import FlowDefinition
from lokki.model.attachment import Shown
from lokki.model.structure import Structure
from lokki.runtime.definition import traced
from lokki.runtime.event import LambdaEvent
from lokki.runtime.keeper import Keeper
from lokki.runtime.payloads import Payloads
from lokki.runtime.slice_work import SliceWork
from lokki.runtime.units import unit_of
from lokki.runtime.work import Work


@dataclass(frozen=True)
class Invocation:
    """One flow's step in this process.

    ``structure`` is the flow's at its build; ``code`` is the file or folder of its code.
    """

    flow: FlowDefinition[..., Any]
    structure: Structure
    step: str
    payloads: Payloads
    loop: asyncio.Runner
    code: str

    @property
    def is_first(self) -> bool:
        """Whether the step begins its flow, and so gets no input."""
        first = self.structure[0]
        return first.kind == "task" and first.name == self.step

    def run(
        self,
        event: LambdaEvent,
        *,
        holds: bool = False,
        seconds_left: Callable[[], float] | None = None,
    ) -> dict[str, Any]:
        """Do what an event requests, and return the event for the next state.

        ``holds``: failed calls are retried here, as in Batch, whose jobs cannot report the type of
        a failure to Step Functions. ``seconds_left`` returns how long this process may still take:
        a slice ends before that, and says what is left of it.

        Raises StepFailed, and LokkiError for a wrong event or flow.
        """
        graph = traced(self.flow, self.structure, event.flow.params)
        unit = unit_of(graph, self.step)
        run_id, results = event.flow.run_id, list[Shown]()
        with _lines_reported(run_id, self.keeper, results), output.own_code(self.code):
            given = self.payloads, self.loop, graph, unit, event, self.keeper, results
            if event.slice is not None:
                return SliceWork(*given, seconds_left).done()
            return Work(*given, holds=holds).done()

    @cached_property
    def keeper(self) -> Keeper:
        """Stores what calls show."""
        return Keeper(self.payloads)

    def close(self) -> None:
        """Close the connections to the store; nothing runs after it."""
        self.keeper.close()
        with self.loop:
            self.loop.run(self.payloads.store.close())


class _Nowhere:
    """Where else the steps' output is shown: nowhere."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


@contextmanager
def _lines_reported(run_id: str, keeper: Keeper, results: list[Shown]) -> Iterator[None]:
    """Inside this context, write the steps' output as JSON lines with run, step and item.

    What they show is kept; previews of their results are added to ``results``.
    """
    log = sys.stdout

    def report(line: logging.Line | Shown) -> None:
        if isinstance(line, Shown):
            if line.number is None:
                results.append(line)
                return
            keeper.take(run_id, line)
            record = logging.step_shown(line)
        else:
            record = logging.step_line(*line)
        log.write(f"{logging.as_json(logging.of_run(run_id, record))}\n")
        log.flush()

    output.attach(run_id, report, cast("TextIO", _Nowhere()))
    try:
        yield
    finally:
        output.detach(run_id, report)
