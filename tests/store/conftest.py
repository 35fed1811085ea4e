"""Fixtures for the tests of the journal: one that is open, and a quick way to fill it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lokki.logging import Line
from lokki.model.attachment import Shown
from lokki.model.structure import dumped, of_text
from lokki.postgres_url import Place, PostgresUrl
from lokki.store.journal import Journal
from lokki.store.outcomes import Outcomes
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id
from lokki.store.spans import Span

Error = tuple[str, str, str]


@dataclass
class Recorder:
    """Records runs as an engine would."""

    journal: Journal

    def run(
        self,
        run_id: str = "r1",
        *,
        flow: str = "f",
        at: float = 1.0,
        status: str = "running",
        params: Mapping[str, Any] = {},
        tags: Sequence[str] = (),
        error: str | None = None,
    ) -> str:
        self.journal.create(
            run_id,
            flow=flow,
            source=None,
            fingerprint="p",
            structure=dumped(of_text("a → map(b)")),
            params=b"",
            params_json=json.dumps(params),
            tags=tags,
            now=at,
        ).result()
        if status != "running":
            self.journal.finish(run_id, status, at + 1, error).result()
        return run_id

    def stage(
        self,
        run_id: str,
        statuses: Mapping[int, str],
        total: int,
        *,
        position: int = 0,
        errors: Mapping[int, Sequence[Error]] = {},
        finished: bool = False,
    ) -> StageRow:
        """Record a map; ``errors`` are those of an item's attempts."""
        stage = stage_id(self.journal.run(run_id).number, position)
        writer = self.journal.own(run_id, never)
        writer.add(
            Opening(StageRow(stage, run_id, position, f"s{position}", "map", 5, None, total))
        )
        names = list(statuses.values())
        counted = ("succeeded", "failed", "tolerated", "retrying")
        outcomes = Outcomes(stage, tuple(map(names.count, counted)), spent=[(0, 0.5)])  # type: ignore[arg-type]
        outcomes.cached.append((f"{stage:x}", "b", 1.0, 2.0, b"5", None))
        for index, status in statuses.items():
            key = stage << 32 | index
            if status == "succeeded":
                outcome = (b"%d" % index,)
                if index % 3:
                    outcomes.spans.append(Span.of(index, 1.0, [2.0], [outcome]))
                else:
                    outcomes.items.append((key, status, 0, 1, 1.0, 2.0, *outcome, None))
                continue
            outcomes.items.append((key, status, 0, 1, 1.0, 2.0, None, None))
            for attempt, error in enumerate(errors.get(index, [("E", "e", "")]), 1):
                outcomes.failures.append((key, "b", attempt, 2.0, *error, None))
        writer.add(outcomes)
        self.journal.flush(run_id).result()
        if finished:
            self.journal.close_stage(run_id, position, 7.0).result()
        self.journal.commits.release(writer)
        return next(each for each in self.journal.history.stages(run_id) if each.id == stage)

    def lines(self, run_id: str, *lines: Line) -> None:
        writer = self.journal.own(run_id, never)
        for line in lines:
            writer.log(line)
        self.journal.flush(run_id).result()
        self.journal.commits.release(writer)

    def shown(self, run_id: str, *shown: Shown) -> None:
        writer = self.journal.own(run_id, never)
        for each in shown:
            writer.attach(each)
        self.journal.flush(run_id).result()
        self.journal.commits.release(writer)


def never(error: Exception) -> Any:
    raise AssertionError(error)


BOTH = {
    "test_controls",
    "test_history",
    "test_items",
    "test_jobs",
    "test_journal",
    "test_leases",
    "test_lines",
    "test_removal",
    "test_reopen",
    "test_spans",
    "test_ticks",
}
"""The modules whose tests of a journal are passed on SQLite and on PostgreSQL alike."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    uses = {"opened", "record"} & {*metafunc.fixturenames}
    is_of_both = metafunc.module.__name__.rpartition(".")[2] in BOTH
    if uses and is_of_both and not metafunc.definition.get_closest_marker("sqlite"):
        metafunc.parametrize("journal", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def journal(
    request: pytest.FixtureRequest, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    if getattr(request, "param", "sqlite") == "sqlite":
        return journal
    place: PostgresUrl = request.getfixturevalue("postgres").journal()
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", place.url)
    return place


@pytest.fixture
def opened(journal: Place) -> Iterator[Journal]:
    with closing(Journal(journal)) as book:
        yield book


@pytest.fixture
def record(opened: Journal) -> Recorder:
    return Recorder(opened)
