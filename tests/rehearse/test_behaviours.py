"""The rehearsal does what lokki expects of Step Functions, and the documentation says so."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from behaviour_account import Account
from behaviours import BEHAVIOURS, DOCUMENT, PASS, seen, table
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

from lokki.rehearse.moto_patches.server import REGION

pytestmark = pytest.mark.timeout(120)


def test_the_rehearsal_behaves_like_step_functions(rehearsal):
    with Account(endpoint=rehearsal.endpoint, region=REGION) as account:
        found = seen(account, BEHAVIOURS)
    assert found == {
        each.name: each.expected if each.rehearsed is None else each.rehearsed
        for each in BEHAVIOURS
    }


def test_an_execution_that_begins_does_not_disturb_what_is_told_of_others(rehearsal, monkeypatch):
    made = ExecutionWorker._get_evaluation_environment
    begins, goes_on = threading.Event(), threading.Event()

    def late(self):
        begins.set()
        goes_on.wait(30)
        return made(self)

    with Account(endpoint=rehearsal.endpoint, region=REGION) as account:
        ran, machine = account.run(account.map([1])), account.machine(PASS)
        monkeypatch.setattr(ExecutionWorker, "_get_evaluation_environment", late)
        with ThreadPoolExecutor() as threads:
            starting = threads.submit(account.start, machine)
            assert begins.wait(30)
            assert (ran.map_run()["status"], len(ran.children())) == ("SUCCEEDED", 1)
            goes_on.set()
            assert account.ended(starting.result()).status == "SUCCEEDED"


def test_what_an_account_test_makes_is_deleted(rehearsal):
    with Account(endpoint=rehearsal.endpoint, region=REGION) as account:
        account.run(account.map([1]))
    machines = account.sfn.list_state_machines()["stateMachines"]
    assert not [each for each in machines if each["name"].startswith(account.name)]
    assert account.bucket not in [each["Name"] for each in account.s3.list_buckets()["Buckets"]]
    stacks = account.stacks.list_stacks(StackStatusFilter=["CREATE_COMPLETE"])["StackSummaries"]
    assert account.name not in [each["StackName"] for each in stacks]


def test_the_documentation_has_each_behaviour():
    hint = "run: uv run python tests/rehearse/behaviours.py --document"
    assert table() in DOCUMENT.read_text("utf-8"), hint
