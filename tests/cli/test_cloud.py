"""build, rehearse and plan, as they are called: what they print, and how they exit."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from lokki.cli.render.rehearsal import show_failures
from lokki.rehearse.outcome import Rehearsed

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(120)

NEEDY = """
from lokki import flow, main, step

@step
def get_items(limit: int):
    return list(range(limit))

@step
def work(item):
    print("at", item)
    if item == 3:
        raise LookupError("no three")
    return item + 1

@flow
def needy(limit: int, broken: bool = False):
    return get_items().map(work)

if __name__ == "__main__":
    main(needy)
"""

COMPUTED = """
from lokki import flow, main, step

@step(cache="1h")
def numbers(count, label):
    return list(range(count))

@step
def halved(number, factor):
    return number * factor

@step
def joined(numbers):
    return numbers

@flow
def computed(n: int, names: list[str], items: int = 1):
    chain = numbers(n * 2, label=f"{names[0].upper()}-{n}").map(halved, factor=items / n)
    if n > 5:
        return chain.next(halved, factor=2).agg(joined)
    return chain.agg(joined)

@flow
def even(n: int, names: list[str], items: int = 1):
    if not names:
        raise ValueError("give a name")
    return numbers(n * 2, label=names[0]).map(halved, factor=items / n).agg(joined)

if __name__ == "__main__":
    main(computed)
"""

DIFFERENT = """
import os
from lokki import flow, step

@step
def where():
    return os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "") != ""

@flow
def different():
    return where()
"""


@pytest.fixture(autouse=True)
def place(terminal):
    shutil.copy(ROOT / "examples" / "birds.py", terminal)
    (terminal / "needy.py").write_text(NEEDY)
    (terminal / "different.py").write_text(DIFFERENT)
    (terminal / "computed.py").write_text(COMPUTED)
    return terminal


def test_build_tells_what_it_has_written_and_what_roles_may_do(done, place):
    code, out, err = done("build", "birds.py")
    assert (code, err) == (0, "")
    assert "birds-flow: get_birds → map(flap_bird) → join_birds" in out
    assert "4 states, 11 resources in lokki-build/template.yaml" in out
    assert "lokki-build/lambdas/Dockerfile: one image" in out
    assert re.search(r"^steps +s3:GetObject +s3:::\$\{S3Bucket\}/birds-flow/runs/\*", out, re.M)
    assert re.search(r"^state machine +states:StartExecution +StateMachine", out, re.M)
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
    assert "s3:::${S3Bucket}/birds-flow/runs/*" in out
    written = {each.name for each in (place / "lokki-build").iterdir()}
    assert written == {"lambdas", "statemachine.json", "template.yaml"}


def test_a_zip_is_reported_with_its_sizes(done, place, dependencies):
    dependencies.into(place / "lokki-build")
    (place / "lokki.toml").write_text('[lambda]\npackage_type = "zip"\n')
    code, out, _ = done("build", "birds.py")
    assert code == 0
    told = r"lokki-build/lambdas/function.zip: \d+\.\d MB \(most of it: .*\), \d+\.\d MB unpacked"
    assert re.search(told, out)


@pytest.mark.parametrize("program", ["lokki", "own"])
def test_a_flow_with_required_parameters_is_built_without_them(done, program):
    code, out, _ = done(*(["build", "needy.py"] if program == "lokki" else ["needy.py", "build"]))
    assert code == 0
    assert "needy: get_items → map(work)" in out


@pytest.mark.parametrize("command", ["build", "plan"])
def test_a_body_that_computes_with_its_parameters_needs_none_of_them(done, command):
    code, out, err = done(command, "computed.py:even")
    assert (code, err) == (0, "")
    assert ("even: numbers → map(halved) → joined" in out) is (command == "build")


@pytest.mark.parametrize("program", ["lokki", "own"])
@pytest.mark.parametrize("command", ["build", "plan", "deploy"])
def test_a_structure_that_depends_on_a_parameter_takes_it_as_an_option(done, command, program):
    words = [command, "computed.py:computed"] if program == "lokki" else ["computed.py", command]
    confirmed = ["--confirm"] if command == "deploy" else []
    code, out, err = done(*words, *confirmed)
    assert (code, out) == (2, "")
    assert "Error: computed.py:19: the value of parameter 'n' is needed here, where the st" in err
    assert "; give it, as in --n 5\n" in err
    assert "Traceback" not in err


def test_what_is_built_has_the_structure_for_what_is_given(done, place):
    shapes = []
    for n in ("9", "2"):
        code, out, _ = done("build", "computed.py:computed", "--n", n)
        assert code == 0
        shapes.append(out.splitlines()[0])
    assert "computed: numbers → map(halved → halved-2) → joined" in shapes[0]
    assert "computed: numbers → map(halved) → joined" in shapes[1]
    (place / "params.json").write_text('{"n": 9, "items": 3}')
    given = ("--params", "params.json", "--items", "10")
    few, many = (done("plan", "computed.py:computed", *more)[1] for more in (("--n", "2"), given))
    assert re.search(r"^Lambda invocations +1,002 ", few, re.M)
    assert re.search(r"^Lambda invocations +22 ", many, re.M)


@pytest.mark.usefixtures("shared_build")
def test_a_computed_parameter_is_rehearsed_with_its_value(done):
    words = ("--n", "2", "--names", '["a"]', "--items", "4")
    code, out, err = done("rehearse", "computed.py:computed", *words)
    assert (code, out) == (0, "[0.0, 2.0, 4.0, 6.0]\n")
    assert "The result is the same as here.\n" in err


def test_a_build_that_cannot_be_says_why_without_a_traceback(done, place):
    (place / "lokki.toml").write_text('[lambda]\ninclude = "nothing/*"\n')
    code, out, err = done("build", "birds.py")
    assert (code, out) == (1, "")
    assert err.startswith("Error: lambda.include: 'nothing/*' matches no file in ")
    assert not (place / "lokki-build").exists()


@pytest.mark.usefixtures("shared_build")
def test_rehearse_prints_the_result_and_that_it_is_the_same(done):
    code, out, err = done("rehearse", "birds.py", "--account-concurrency", "1")
    assert (code, out) == (0, "flappy goose, flappy duck, flappy seagul\n")
    assert re.search(r"^MapFlapBird +Map +\d+\.\d\d +3 succeeded", err, re.M)
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith('{"level"')]
    assert events.count("step_complete") == 5
    assert "REPORT" not in err
    assert "The result is the same as here.\n" in err
    assert "Not proven: permissions" in err
    assert err.splitlines()[:3] == ["building", "creating the stack", "executing"]
    here = err.index("running it here for comparison\n")
    assert err.index("MapFlapBird") < here < err.index("The result is the same")


@pytest.mark.usefixtures("shared_build")
def test_rehearse_takes_parameters_and_tells_a_failure_with_the_users_traceback_first(done):
    code, out, err = done("needy.py", "rehearse", "--limit", "5", "--logs")
    assert (code, out) == (1, "")
    assert re.search(r'File ".*needy.py", line \d+, in work', err)
    assert "step 'work', item 3, attempt 1: LookupError: no three" in err
    assert "Error: the execution has failed: States.ExceedToleratedFailureThreshold" in err
    assert "Here, the run fails, too" in err
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith('{"level"')]
    assert "step_start" in events
    assert "[INFO] work[3]: at 3\n" in err
    assert "[ERROR] work[3]: failed: LookupError: no three" in err
    assert "REPORT RequestId" in err


def test_a_job_that_died_is_told_by_what_ended_it():
    why = "OutOfMemoryError: Container killed due to memory usage"
    job = {"JobId": "j-1", "StatusReason": "Essential container in task exited"}
    job["Container"] = {"ExitCode": 137, "Reason": why}
    dead = Rehearsed("r", "FAILED", None, "States.TaskFailed", json.dumps(job), (), (), (), 1.0)
    told = io.StringIO()
    show_failures(dead, Console(file=told, soft_wrap=True))
    assert told.getvalue() == (
        "Error: the execution has failed: WorkerDied: Batch job j-1: Essential container in task "
        f"exited with exit code 137: {why}\n"
    )


@pytest.mark.usefixtures("shared_build")
def test_rehearse_fails_when_the_results_differ(done):
    code, out, err = done("rehearse", "different.py")
    assert (code, out) == (1, "True\n")
    assert "It differs: here, the result is False" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rehearse", "needy.py"], "parameter 'limit' (int) is missing"),
        (["rehearse", "needy.py", "--limit", "x"], "limit"),
        (["rehearse", "--limit"], "the file comes first"),
        (["build", "needy.py", "--limit", "x"], "parameter 'limit' must be a whole number"),
        (["plan", "needy.py", "--limits", "3"], "No such option '--limits'"),
        (["plan", "birds.py", "--items", "-1"], "-1"),
        (["build"], "Missing argument"),
    ],
)
def test_wrong_usage_is_reported(done, words, told):
    code, out, err = done(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


def test_plan_tells_what_is_used_what_it_costs_and_which_limits_are_near(done):
    code, out, err = done("plan", "birds.py", "--items", "10000", "--seconds-per-item", "0.1")
    assert (code, err) == (0, "")
    assert re.search(r"^Lambda invocations +10,002 +0\.0020$", out, re.M)
    assert re.search(r"^together +0\.\d{4}", out, re.M)
    assert "Note: map 'flap_bird': 1,000 of 10,000 invocations at a time, at least 100 s" in out
