"""What every backend does, whatever is behind it: asked of each of them by its own test module."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass

import pytest

from lokki import LokkiError, RunNotFound
from lokki.backends.backend import Backend
from lokki.model.run_filter import RunFilter
from lokki.model.times import seconds

FLOW, OTHER = "checked", "doubled"
FLOWS = """
import lokki
from lokki import flow, step

PNG = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(range(256))

@step
def numbers(count):
    lokki.show(f"# {count} numbers", "Numbers")
    return list(range(count))

@step
def check(number):
    print("checked", number)
    lokki.show([{"number": number, "odd": number % 2 == 1}], "About it")
    lokki.show(PNG)
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number

@step
def double(number):
    return 2 * number

@flow
def checked(count: int):
    return numbers(count).map(check, tolerated_failures=0.9)

@flow
def doubled(count: int):
    return numbers(count).map(double)
"""


@dataclass
class World:
    """A backend with three runs: of FLOW, of FLOW, and the newest of OTHER."""

    backend: Backend
    ids: list[str]


class Conformance:
    """Tests over the fixture ``world``."""

    def test_a_run_is_found_by_id_by_its_beginning_and_as_the_last(self, world):
        first, _, last = world.ids
        assert world.backend.find(first).id == first
        assert world.backend.find(last[:-1]).id == last
        assert world.backend.find("last").id == last
        assert world.backend.find("last", FLOW).id == world.ids[1]

    @pytest.mark.parametrize("name", ["nosuch", "no such", "last"])
    def test_what_is_not_there_is_no_run(self, world, name):
        with pytest.raises(RunNotFound, match="no run"):
            world.backend.find(name, "nothing")

    def test_runs_come_in_pages_the_newest_first(self, world):
        whole = world.backend.runs(RunFilter(limit=10))
        assert [run.id for run in whole.runs] == world.ids[::-1]
        assert whole.next is None
        page = world.backend.runs(RunFilter(limit=2))
        assert [run.id for run in page.runs] == world.ids[:0:-1]
        rest = world.backend.runs(RunFilter(before=page.next, limit=2))
        assert ([run.id for run in rest.runs], rest.next) == ([world.ids[0]], None)

    def test_runs_are_filtered(self, world):
        runs = world.backend.runs(RunFilter(limit=10)).runs
        of_flow = world.backend.runs(RunFilter(flow=OTHER, limit=10)).runs
        assert [run.id for run in of_flow] == [world.ids[2]]
        assert len(world.backend.runs(RunFilter(statuses=("succeeded",), limit=10)).runs) == 3
        assert world.backend.runs(RunFilter(statuses=("failed", "cancelled"), limit=10)).runs == []
        newest = seconds(runs[0].created)
        assert [run.id for run in world.backend.runs(RunFilter(since=newest, limit=10)).runs] == [
            runs[0].id
        ]
        older = world.backend.runs(RunFilter(older_than=newest, limit=10)).runs
        assert [run.id for run in older] == [run.id for run in runs[1:]]

    def test_flows_are_those_of_its_runs(self, world):
        assert {FLOW, OTHER} <= set(world.backend.flows())

    def test_a_run_has_its_structure_stages_and_failures(self, world):
        run = world.backend.run(world.ids[0])
        assert run.chain == "numbers → map(check)"
        assert [(each.kind, each.steps) for each in run.structure] == [
            ("task", ["numbers"]),
            ("map", ["check"]),
        ]
        assert (run.status, run.params, run.error) == ("succeeded", {"count": 4}, None)
        (group,) = run.stages[1].failures
        assert (group.type, group.tolerated_count, group.items) == ("ValueError", 2, [1, 3])
        assert (run.stages[1].succeeded, run.stages[1].tolerated) == (2, 2)
        assert (run.goes_on, run.is_lost) == (False, False)

    def test_the_items_of_a_map_are_drawn_in_cells(self, world):
        cells = [dict(cell) for cell in world.backend.strip(world.ids[0], 1, 4)]
        kinds = [next(kind for kind, count in cell.items() if count) for cell in cells]
        assert kinds == ["succeeded", "tolerated", "succeeded", "tolerated"]

    def test_the_items_of_a_map_come_in_order_and_by_status(self, world):
        found = [*world.backend.items(world.ids[0], 1)]
        assert [(item.index, item.status) for item in found] == [
            (0, "succeeded"),
            (1, "tolerated"),
            (2, "succeeded"),
            (3, "tolerated"),
        ]
        failed = [*world.backend.items(world.ids[0], 1, ("tolerated", "failed"))]
        assert [(item.index, item.error.message) for item in failed] == [
            (1, "1 is odd"),
            (3, "3 is odd"),
        ]

    def test_an_item_has_its_input_its_output_and_its_failed_attempts(self, world):
        succeeded, failed = (world.backend.item(world.ids[0], 1, index) for index in (2, 3))
        assert (succeeded.status, failed.status) == ("succeeded", "tolerated")
        assert (succeeded.input, succeeded.output) == ({"json": 2}, {"json": 2})
        assert (failed.input, failed.output) == ({"json": 3}, None)
        assert succeeded.failures == []
        (attempt,) = failed.failures
        assert (attempt.type, attempt.message, attempt.step) == ("ValueError", "3 is odd", "check")
        assert 'raise ValueError(f"{number} is odd")' in attempt.traceback

    def test_the_result_of_a_stage_that_is_not_a_map_is_an_output_without_input(self, world):
        found = world.backend.item(world.ids[0], 0, 0)
        assert (found.input, found.output) == (None, {"json": [0, 1, 2, 3]})

    def test_an_item_that_is_not_there_is_none(self, world):
        assert world.backend.item(world.ids[0], 1, 99) is None

    def test_lines_are_filtered_and_go_on_after_one(self, world):
        run = world.ids[0]
        lines = list(world.backend.lines(run, step="check", level="INFO"))
        said = [line for line in lines if line.source == "stdout"]
        assert sorted(line.message for line in said) == [f"checked {n}" for n in range(4)]
        assert [line.message for line in world.backend.lines(run, item=2, level="INFO")] == [
            "checked 2"
        ]
        found = world.backend.lines(run, search="CHECKED 2", level="INFO")
        assert [(line.item, line.message) for line in found] == [(2, "checked 2")]
        assert list(world.backend.lines(run, after=world.backend.last_line(run))) == []
        assert list(world.backend.lines(run, until=seconds("2020-01-01T00:00:00Z"))) == []

    def test_what_steps_have_shown_is_there_also_of_a_failed_attempt(self, world):
        run, shown = world.ids[0], world.backend.attachments
        found = shown(run, limit=100)
        assert {(each.step, each.item, each.title, each.type) for each in found} == {
            ("numbers", None, "Numbers", "text/markdown"),
            *(("check", n, "About it", "application/json") for n in range(4)),
            *(("check", n, None, "image/png") for n in range(4)),
        }
        assert [each.name for each in shown(run, item=3, limit=9)] == ["check.3.1.0", "check.3.1.1"]
        assert shown(run, step="numbers", limit=100) == found[:1]
        assert shown(run, after=found[1].name, limit=3) == found[2:5]

    def test_the_content_of_what_was_shown_is_as_it_was(self, world):
        about, content = world.backend.attachment(world.ids[0], "numbers.-.1.0")
        assert (about.title, content, about.size) == ("Numbers", b"# 4 numbers", 11)
        _, content = world.backend.attachment(world.ids[0], "check.3.1.0")
        table = json.loads(content)
        assert (table["columns"], table["rows"]) == (["number", "odd"], [[3, True]])
        _, content = world.backend.attachment(world.ids[0], "check.3.1.1")
        assert content == b"\x89PNG\r\n\x1a\n" + bytes(range(256))

    @pytest.mark.parametrize("name", ["check.9.1.0", "numbers.-.1.9", "nothing"])
    def test_what_was_not_shown_is_not_there(self, world, name):
        with pytest.raises(LokkiError, match="has shown nothing named"):
            world.backend.attachment(world.ids[0], name)

    def test_a_result_is_a_pickle(self, world):
        assert pickle.loads(world.backend.pickled_result(world.ids[2])) == [0, 2, 4]
