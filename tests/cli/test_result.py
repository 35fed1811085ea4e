"""``lokki result``: a run's result as JSON or as a pickle, here and on a server."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys

import pytest
from serving import Place

FLOWS = """
import datetime
from lokki import flow, main, step

class Own:
    pass

@step
def made(kind):
    return {
        "dict": {"day": datetime.date(2026, 2, 3), "of": (1, None)},
        "none": None,
        "own": [Own()],
        "long": list(range(300_000)),
    }[kind]

@step
def numbers(count):
    return range(count)

@step
def work(number):
    return Own() if number == 7 else "x" * 200_000 if number == 2 else number

@flow
def values(kind: str = "dict"):
    return made(kind)

@flow
def listed(count: int = 2):
    return numbers(count).map(work)

if __name__ == "__main__":
    main(values)
"""


@pytest.fixture(params=["here", "there"])
def on(request, terminal):
    """What says where runs are: nothing, or the URL of a server."""
    Place(terminal).write("flows.py", FLOWS)
    return () if request.param == "here" else request.getfixturevalue("elsewhere")


@pytest.fixture
def ran(done, on):
    def ran(flow, *options):
        done("run", f"flows.py:{flow}", *options, *on)

    return ran


def test_a_result_is_printed_as_json(ran, done, on):
    ran("values")
    code, out, err = done("result", *on)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"day": "2026-02-03", "of": [1, None]}
    run_id = json.loads(done("show", "last", "--json", *on)[1])["id"]
    assert done("result", run_id[:-1], *on)[1] == out
    assert done("result", "--run", run_id, *on)[1] == out
    ran("values", "--kind", "none")
    assert done("result", "last", *on) == (0, "null\n", "")
    assert done("flows.py", "result", *on) == (0, "null\n", "")
    ran("listed")
    assert json.loads(done("result", *on)[1]) == [0, 1]
    assert done("flows.py", "result", *on)[1] == "null\n"


def test_a_result_is_printed_however_long_it_is(ran, done, on):
    ran("values", "--kind", "long")
    assert json.loads(done("result", *on)[1]) == list(range(300_000))
    ran("listed", "--count", "4")
    assert json.loads(done("result", *on)[1]) == [0, 1, "x" * 200_000, 3]


def test_a_result_with_own_classes_is_reported_and_saved(ran, done, on, terminal):
    ran("values", "--kind", "own")
    code, out, err = done("result", *on)
    assert (code, out) == (1, "")
    saves = re.fullmatch(
        r"Error: the result of run \S+ is not JSON \(flows.Own, \d+ bytes as a pickle\); save it: "
        r"lokki (result .* --pickle) FILE(.*)\n",
        err,
    )
    assert saves is not None, err
    assert done(*saves[1].split(), "own.pickle", *saves[2].split()) == (0, "", "")
    read = "import pickle; print(pickle.load(open('own.pickle', 'rb')))"
    told = subprocess.run(
        [sys.executable, "-c", read], capture_output=True, text=True, check=True, cwd=terminal
    )
    assert told.stdout.startswith("[<flows.Own object")


def test_the_pickle_of_a_maps_results_is_a_list(ran, done, on, terminal):
    ran("listed", "--count", "4")
    assert done("result", "--pickle", "list.pickle", *on) == (0, "", "")
    assert pickle.loads((terminal / "list.pickle").read_bytes()) == [0, 1, "x" * 200_000, 3]
    ran("listed", "--count", "8")
    assert "(flows.Own, " in done("result", *on)[2]
    code, _, err = done("result", "--pickle", "nosuch/list.pickle", *on)
    assert (code, err) == (
        1,
        "Error: nosuch/list.pickle cannot be written: No such file or directory\n",
    )


def test_a_run_that_has_not_succeeded_has_none(ran, done, on):
    ran("values", "--kind", "nosuch")
    code, out, err = done("result", *on)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"Error: run \S+ has no result: it is failed\n", err)
    assert done("result", "nosuch", *on)[0] == 1
