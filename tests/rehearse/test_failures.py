"""What goes wrong on AWS: the right result, or an error that says what was wrong."""

from __future__ import annotations

import importlib
import json
import os

import anyio
import pytest
import rehearsed_flows as flows
from serving import children

from lokki import ParameterError, RunFailed
from lokki.rehearse.comparison import local_result

QUEUE = {"batch.job_queue": "the-queue"}
pytestmark = pytest.mark.timeout(120)


def failed(graph):
    """The failure of a run here."""
    with pytest.raises(RunFailed) as caught:
        anyio.run(local_result, graph)
    return caught.value


def test_an_error_has_the_users_name_text_and_traceback_and_no_retry_that_is_not_its(rehearsal):
    done = rehearsal.run(flows.failing(count=1))
    assert done.status == "FAILED"
    (told,) = done.failures
    here = failed(flows.failing(count=1))
    assert (told.step, told.index, told.attempt) == ("fails", 0, 1)
    assert (told.step, told.index, told.attempt) == (here.step, here.index, here.attempt)
    assert (told.type, told.reason) == (here.type, here.reason)
    assert "raise LookupError" in told.traceback
    assert "lokki/runtime" not in told.traceback
    lines = [json.loads(line) for line in done.lines if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "step_failed"]
    assert (line["run"], line["step"], line["item"], line["attempt"]) == (
        done.run_id, "fails", 0, 1,
    )  # fmt: skip
    assert line["traceback"] == told.traceback


def test_the_processes_of_its_functions_end_with_a_rehearsal(rehearsal):
    assert rehearsal.run(flows.linear()).status == "SUCCEEDED"
    before = set(children(os.getpid()))  # one may be there to fork those of other rehearsals
    assert rehearsal.run(flows.linear()).status == "SUCCEEDED"
    assert set(children(os.getpid())) <= before


def test_what_step_functions_is_reported_has_the_users_error(rehearsal):
    done = rehearsal.run(flows.unmappable())
    assert (done.status, done.error) == ("FAILED", "TypeError")
    cause = json.loads(done.cause)
    assert cause["errorMessage"] == failed(flows.unmappable()).reason
    assert cause["errorType"] == "TypeError"


def test_a_result_that_cannot_be_stored_is_reported_as_here(rehearsal):
    done = rehearsal.run(flows.unstorable())
    here = failed(flows.unstorable())
    assert (done.error, done.failures[0].reason) == (here.type, here.reason)


def test_more_failures_than_tolerated_end_the_run(rehearsal):
    done = rehearsal.run(flows.too_many())
    assert (done.status, done.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    wrong, dead = done.failures
    assert (wrong.index, wrong.type, wrong.reason) == (0, "ValueError", "0 is wrong")
    assert (dead.index, dead.type) == (1, failed(flows.too_many()).type) == (1, "WorkerDied")
    assert "Runtime.ExitError" in dead.reason


def test_more_failures_in_batches_than_tolerated_end_the_run_with_one_of_them(rehearsal):
    done = rehearsal.run(flows.intolerant_batches())
    assert (done.status, done.error) == ("FAILED", "ValueError")
    assert failed(flows.intolerant_batches()).type == "ValueError"


def test_a_call_that_takes_too_long(rehearsal):
    done = rehearsal.run(flows.timed_out())
    (told,) = done.failures
    here = failed(flows.timed_out())
    assert (told.type, told.reason) == (here.type, here.reason) == (
        "TimeoutError", "the call took longer than 1 s",
    )  # fmt: skip


def test_a_structure_that_depends_on_a_parameter(rehearsal):
    assert rehearsal.run(flows.of_another_shape(more=False)).result == 1
    done = rehearsal.run(flows.of_another_shape(more=True))
    assert (done.status, done.error) == ("FAILED", "FingerprintError")
    told = json.loads(done.cause)["errorMessage"]
    assert "count_up → listed → total instead of count_up → total" in told


def test_parameters_as_large_as_they_may_be_go_through_and_larger_ones_are_refused(rehearsal):
    most = 250 * 1024 - len('{"text": ""}')
    done = rehearsal.run(flows.echoed(text="x" * most))
    assert (done.status, done.error, len(done.result)) == ("SUCCEEDED", None, most)
    with pytest.raises(ParameterError, match=r"256,001 bytes as JSON, .* at most 256,000"):
        rehearsal.run(flows.echoed(text="x" * (most + 1)))


def test_a_result_over_256_kib_goes_by_where_it_is(rehearsal):
    done = rehearsal.run(flows.grown(size=300_000))
    assert (done.status, done.result) == ("SUCCEEDED", 300_000)


def test_a_module_that_is_not_in_the_zip_is_named(rehearsal, tmp_path, monkeypatch):
    (tmp_path / "undeclared.py").write_text(
        "import hypothesis\nfrom lokki import flow, step\n\n@step\ndef one():\n    return 1\n\n"
        "@flow\ndef undeclared():\n    return one()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("undeclared")
    done = rehearsal.run(module.undeclared(), {"lambda.package_type": "zip"})
    assert (done.status, done.error) == ("FAILED", "Runtime.ImportModuleError")
    assert "No module named 'hypothesis'" in done.cause


def test_a_file_with_the_name_of_a_module_of_python_is_found_first(
    rehearsal, tmp_path, monkeypatch
):
    assert rehearsal.run(flows.linear()).status == "SUCCEEDED"  # the same dependencies, without it
    (tmp_path / "uuid.py").write_text("raise ImportError('this is not the uuid you know')\n")
    (tmp_path / "hiding.py").write_text(
        "from lokki import flow, step\n\n@step\ndef one():\n    return 1\n\n"
        "@flow\ndef hiding():\n    return one()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("hiding")
    done = rehearsal.run(module.hiding(), {"lambda.include": "uuid.py"})
    assert (done.status, done.error) == ("FAILED", "Runtime.ImportModuleError")
    assert "this is not the uuid you know" in done.cause


def test_a_host_that_is_reclaimed_takes_none_of_a_jobs_own_attempts(rehearsal, tmp_path):
    own = {"batch.subnets": "subnet-0a1b2c3d", "batch.security_groups": "sg-0a1b2c3d"}
    graph = flows.on_spot(str(tmp_path / "marks"))
    done = rehearsal.run(graph, {**own, "batch.spot": True})
    assert (done.status, done.result, done.cause) == ("SUCCEEDED", (5, 2), None)


def test_a_failed_job_has_reported_why(rehearsal):
    done = rehearsal.run(flows.batch_failing(), QUEUE)
    assert (done.status, done.error) == ("FAILED", "States.TaskFailed")
    (told,) = done.failures
    assert (told.step, told.type, told.reason) == (
        "heavy_failure", "RuntimeError", "the job is done for",
    )  # fmt: skip
    assert any("the job is done for" in line for line in done.lines)
    assert not any("Unclosed" in line for line in done.lines)


def test_a_secret_is_read_from_where_its_arn_says_and_is_nowhere_else(rehearsal, monkeypatch):
    monkeypatch.setenv("LOKKI_SECRET_TOKEN", "a-planted-secret")
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf"
    settings = {"lambda.env": {"LOKKI_SECRET_TOKEN": arn}}
    done = rehearsal.run(flows.secretive("not this one"), settings)
    assert (done.status, done.result) == ("SUCCEEDED", len("a-planted-secret"))
    assert "planted" not in "\n".join(done.lines)
