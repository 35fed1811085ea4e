"""invoke and the commands with --on aws, as they are called: what they print, how they exit."""

from __future__ import annotations

import json
import os
import re
from itertools import count
from pathlib import Path
from uuid import uuid4

import botocore.session
import pytest

ROOT = Path(__file__).parent.parent.parent
UV_CACHE = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
pytestmark = pytest.mark.timeout(180)

FLOW = """
import os
import time
from lokki import flow, main, step

@step(cache="1h")
def numbers(count: int):
    return list(range(count))

@step
def crunch(number, switch):
    print("crunching", number)
    if number == 1 and os.path.exists(switch):
        raise ValueError("cannot crunch 1")
    return number * 2

@step
def total(numbers, hold):
    while os.path.exists(hold):
        time.sleep(0.02)
    return sum(numbers)

@flow
def milling(count: int, switch: str = "/nowhere", hold: str = "/nowhere"):
    return numbers().map(crunch).agg(total)

if __name__ == "__main__":
    main(milling)
"""


@pytest.fixture
def place(rehearsal, terminal, shared_build, monkeypatch):
    monkeypatch.setenv("UV_CACHE_DIR", UV_CACHE)
    (terminal / "milling.py").write_text(FLOW)
    (terminal / "lokki.toml").write_text(
        f'[aws]\nendpoint = "{rehearsal.endpoint}"\nregion = "us-east-1"\n'
        f'artifact_bucket = "cli-{uuid4().hex[:8]}"\n[lambda]\npackage_type = "zip"\n'
    )
    return terminal


@pytest.fixture
def deployed(place, done):
    assert done("deploy", "milling.py", "--confirm")[0] == 0
    yield place
    assert done("destroy", "milling.py", "--confirm", "--empty-bucket")[0] == 0


def test_a_run_on_aws_is_started_watched_looked_at_and_resumed(deployed, done):
    code, out, err = done("invoke", "milling.py", "--count", "3", "--run-id", "first")
    assert (code, out) == (0, "6\n")
    assert "[INFO] Run first of milling started\n" in err
    assert "crunching 2\n" in err
    assert "3/3 (100%) completed\n" in err
    assert "[INFO] Run first succeeded\n" in err
    assert done("result", "first", "--on", "aws") == (0, "6\n", "")
    assert done("result", "first") == (0, "6\n", "")

    switch = deployed / "switch"
    switch.touch()
    given = ("--count", "3", "--switch", str(switch))
    code, out, err = done("run", "milling.py", *given, "--on", "aws")
    assert (code, out) == (1, "")
    assert "ValueError: cannot crunch 1\n" in err
    assert "Error: the run failed in step 'crunch', item 1, attempt 1, at " in err
    assert "milling.py:" in err
    assert "\nresume: lokki resume " in err

    code, out, _ = done("milling.py", "show", "last", "--on", "aws")
    assert code == 0
    assert "status   failed, 1 item failed\n" in out
    assert "1 item of crunch  ValueError: cannot crunch 1\n" in out
    code, out, _ = done("runs", "--on", "aws", "--flow", "milling", "--json")
    failed, first = json.loads(out)["runs"]
    assert (first["id"], first["status"], first["where"]) == ("first", "succeeded", "aws")

    code, out, _ = done("logs", "first", "--on", "aws", "--item", "2")
    assert (code, out.partition(" ")[2]) == (0, "[INFO] crunch[2]: crunching 2\n")

    code, out, _ = done("logs", failed["id"], "--on", "aws", "--level", "ERROR")
    assert code == 0
    assert out.partition(" ")[2] == "[ERROR] crunch[1]: failed: ValueError: cannot crunch 1\n"

    code, out, err = done("logs", "first", "--on", "aws", "--step", "total")
    assert (code, out, err) == (0, "", "no lines\n")
    code, _, err = done("logs", "first", "--on", "aws", "--step", "nosuch")
    assert (code, err.splitlines()[-1]) == (
        2, "Error: run first has no step 'nosuch'; it has numbers, crunch, total",
    )  # fmt: skip

    code, out, err = done("pull", failed["id"], "milling.py")
    assert code == 0
    assert re.fullmatch(rf"run {failed['id']} is here: [123] results?, 1 failed\n", out)
    assert err == f"resume it: lokki resume {failed['id']}\n"
    code, _, err = done("pull", failed["id"], "milling.py")
    assert (code, err) == (
        1, f"Error: run {failed['id']} is already here: resume it, or give --replace\n",
    )  # fmt: skip

    code, _, err = done("push", "elsewhere")
    assert code == 1
    assert err.endswith("; `lokki pull RUN FILE` copies a run here\n")

    switch.unlink()
    code, out, _ = done("resume", failed["id"], "--on", "local")
    assert (code, out) == (0, "6\n")
    code, out, err = done("push", failed["id"])
    assert code == 0
    assert re.fullmatch(rf"[123] results? of run {failed['id']} copied to AWS\n", out)
    assert err == f"resume it there: lokki resume {failed['id']} --on aws\n"
    code, out, err = done("resume", failed["id"], "--on", "aws")
    assert (code, out) == (0, "6\n")
    assert f"[INFO] Run {failed['id']} of milling resumed\n" in err
    code, _, err = done("cancel", failed["id"], "--on", "aws")
    assert (code, err) == (1, f"Error: run {failed['id']} has already succeeded\n")


def test_cached_results_in_the_bucket_are_left_out_and_removed(
    deployed, done, rehearsal, monkeypatch
):
    numbers = count()

    def reused(*options):
        run_id = f"cached-{next(numbers)}"
        asked = ("milling.py", "--count", "2", "--run-id", run_id, *options)
        code, out, _ = done("invoke", *asked)
        assert (code, out) == (0, "2\n")
        lines = done("logs", run_id, "--on", "aws", "--step", "numbers")[1]
        return "the result of an earlier call was reused" in lines

    above = f"00-{1:032x}-{2:016x}-01"
    monkeypatch.setenv("TRACEPARENT", above)
    remove = ("gc", "--cache", "--on", "aws")
    assert (reused(), reused(), reused("--no-cache")) == (False, True, False)
    asked = json.loads(done("show", "cached-2", "--on", "aws", "--json")[1])
    assert asked["no_cache"] is True
    machines = botocore.session.get_session().create_client(
        "stepfunctions", "us-east-1", endpoint_url=rehearsal.endpoint
    )
    arn = f"arn:aws:states:us-east-1:123456789012:execution:milling:{asked['id']}"
    given = json.loads(machines.describe_execution(executionArn=arn)["input"])
    assert given == {"count": 2, "lokki:no_cache": True, "lokki:traceparent": above}
    assert done(*remove, "--older-than", "1d")[2] == "nothing to remove\n"
    old = (*remove, "--older-than", "0s", "--flow", "milling")
    assert done(*old, "--dry-run")[2] == "1 cached result would be removed\n"
    assert done(*old)[2] == "1 cached result removed\n"
    assert not reused()
    code, _, err = done(*remove)
    assert (code, err.splitlines()[-1]) == (
        2, "Error: give --older-than 30d: on AWS, only a step knows its `cache`",
    )  # fmt: skip
    code, _, err = done("gc", "--on", "aws", "--older-than", "1d")
    assert (code, "--on aws takes --cache" in err) == (2, True)


def test_a_run_need_not_be_waited_for_and_its_lines_can_be_followed(deployed, done):
    code, out, err = done("invoke", "milling.py", "--count", "2", "--no-wait")
    run_id = out.strip()
    assert (code, err) == (
        0,
        "it runs in AWS account 123456789012, us-east-1; "
        f"watch: lokki show {run_id} --watch --on aws\n",
    )
    code, out, _ = done("logs", run_id, "--tail", "--on", "aws")
    assert code == 0
    assert sorted(line.partition(" ")[2] for line in out.splitlines()) == [
        "[INFO] crunch[0]: crunching 0",
        "[INFO] crunch[1]: crunching 1",
    ]


def test_what_is_wrong_is_reported_before_anything_is_started(place, done):
    code, _, err = done("invoke", "milling.py")
    assert (code, err.splitlines()[-1]) == (
        2, "Error: milling: parameter 'count' (int) is missing",
    )  # fmt: skip
    code, _, err = done("invoke", "milling.py", "--count", "2")
    assert (code, err) == (
        1,
        "Error: flow 'milling' is not deployed in AWS account 123456789012, us-east-1: "
        "deploy it first\n",
    )
    code, out, err = done("runs", "--on", "aws", "--flow", "milling")
    assert (code, out) == (0, "")
    assert "no runs of flow 'milling' in AWS account 123456789012, us-east-1" in err


def test_ctrl_c_cancels_a_run_on_aws(deployed, done, start):
    hold = deployed / "hold"
    hold.touch()
    given = ("--count", "1", "--hold", str(hold), "--run-id", "held")
    process = start("invoke", "milling.py", *given)
    for line in process.stderr:
        if "'total' started" in line:
            process.send_signal(2)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cancelling" in err
    assert "resume: lokki resume held --on aws" in err
    code, out, _ = done("show", "held", "--on", "aws")
    assert (code, "status   cancelled" in out) == (0, True)
    hold.unlink()


def test_deployments_of_a_flow_live_beside_each_other(deployed, done, monkeypatch):
    assert done("invoke", "milling.py", "--count", "1", "--run-id", "same")[:2] == (0, "0\n")
    code, _, err = done("deploy", "milling.py", "--stack-name", "more", "--confirm")
    assert (code, err.splitlines()[-1]) == (
        1,
        "Error: flow 'milling' is deployed already, by stack 'milling': update that one with "
        "--stack-name milling, or deploy beside it with a name of its own, --deployment test",
    )

    monkeypatch.setenv("LOKKI_AWS_DEPLOYMENT", "test")
    code, _, err = done("invoke", "milling.py", "--count", "3", "--run-id", "same")
    assert (code, err.splitlines()[-1]) == (
        1,
        "Error: flow 'milling' is not deployed in AWS account 123456789012, us-east-1, deployment "
        "test: deploy it first",
    )
    code, out, _ = done("deploy", "milling.py", "--confirm")
    assert (code, out.split(":")[0]) == (0, "milling-test is deployed")
    assert done("invoke", "milling.py", "--count", "3", "--run-id", "same")[:2] == (0, "6\n")
    _, out, _ = done("runs", "--on", "aws", "--json")
    assert [(run["flow"], run["id"]) for run in json.loads(out)["runs"]] == [("milling", "same")]
    lines = done("logs", "same", "--on", "aws")[1]
    assert sorted(line[-1] for line in lines.splitlines()) == ["0", "1", "2"]
    assert done("pull", "same", "milling.py")[1] == "run same is here: 5 results, 0 failed\n"
    assert done("result", "same") == (0, "6\n", "")
    code, out, _ = done("destroy", "milling.py", "--confirm", "--empty-bucket")
    assert (code, out) == (0, "milling-test is not on AWS any more\n")

    monkeypatch.delenv("LOKKI_AWS_DEPLOYMENT")
    assert done("result", "same", "--on", "aws") == (0, "0\n", "")


def test_runs_are_found_wherever_they_are(deployed, done, monkeypatch):
    def runs(*options):
        return done("runs", "--flow", "milling", *options)

    assert done("invoke", "milling.py", "--count", "1", "--run-id", "there")[0] == 0
    assert done("run", "milling.py", "--count", "2")[0] == 0
    code, out, _ = runs("--json")
    here, there = json.loads(out)["runs"]
    assert (here["where"], there["where"], there["id"]) == ("local", "aws", "there")
    _, out, _ = runs()
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["run", "flow", "where"], [here["id"], "milling", "local"], ["there", "milling", "aws"],
    ]  # fmt: skip
    code, out, err = runs("--n", "1")
    assert (code, out.splitlines()[-1].split()[0]) == (0, here["id"])
    assert err == f"for older runs: a larger --n, or --before {here['id']}\n"
    for before, found in ((here["id"], ["there"]), ("there", [])):
        _, out, _ = runs("--before", before, "--json")
        assert [run["id"] for run in json.loads(out)["runs"]] == found
    _, out, _ = done("show", "there")
    assert "where    aws\nstatus   succeeded\n" in out
    (newest,) = json.loads(done("runs", "--n", "1", "--json")[1])["runs"]
    _, out, _ = done("show", "last")
    assert out.startswith(f"run      {newest['id']}\nflow     {newest['flow']}\n")
    _, out, _ = done("logs", "there")
    assert out.endswith("[INFO] crunch[0]: crunching 0\n")
    code, _, err = done("cancel", "there")
    assert (code, err) == (1, "Error: run there has already succeeded\n")
    code, _, err = done("show", "nowhere")
    assert code == 1
    assert "AWS account 123456789012, us-east-1: no run 'nowhere'" in err
    assert done("pull", "there", "milling.py")[0] == 0
    pulled = [("there", "local"), ("there", "aws")]  # in lists twice, and never on two pages
    for options, found in (
        ((), [(here["id"], "local"), *pulled]),
        (("--n", "2"), [(here["id"], "local"), *pulled]),
        (("--n", "1", "--before", here["id"]), pulled),
        (("--before", "there"), []),
    ):
        _, out, _ = runs(*options, "--json")
        page = json.loads(out)
        assert ([(run["id"], run["where"]) for run in page["runs"]], page["next"]) == (found, None)
    with monkeypatch.context() as patch:
        patch.setenv("LOKKI_AWS_ENDPOINT", "http://127.0.0.1:9")
        code, out, err = runs("--json")
    assert (code, len(json.loads(out)["runs"])) == (0, 2)
    assert err.startswith("without runs on AWS (--on local leaves them out): AWS cannot be reached")
