"""The rehearsal does what lokki expects of Step Functions, and the documentation says so."""

import pytest
from behaviour_account import Account
from behaviours import BEHAVIOURS, DOCUMENT, seen, table

from lokki.rehearse.moto_patches.server import REGION

pytestmark = pytest.mark.timeout(120)


def test_the_rehearsal_behaves_like_step_functions(rehearsal):
    with Account(endpoint=rehearsal.endpoint, region=REGION) as account:
        found = seen(account, BEHAVIOURS)
    assert found == {
        each.name: each.expected if each.rehearsed is None else each.rehearsed
        for each in BEHAVIOURS
    }


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
