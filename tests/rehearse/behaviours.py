"""What lokki expects of Step Functions, each expectation as an execution that shows it.

``python tests/rehearse/behaviours.py`` asks the rehearsal; with ``--account``, the account of the
default credentials. It prints what it saw, deletes what it made (see `behaviour_account`), and
exits with 1 if an account did not do as expected. ``--document`` writes the table in
docs/step-functions.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from behaviour_account import TIMEOUT, Account, Ran, rehearsed

_GUIDE = "https://docs.aws.amazon.com/step-functions/latest/dg"
_API = "https://docs.aws.amazon.com/step-functions/latest/apireference"
_MAP = f"{_GUIDE}/state-map-distributed.html"
_ERRORS = f"{_GUIDE}/concepts-error-handling.html"
_REDRIVE = f"{_GUIDE}/redrive-executions.html"
_RECORDED = (
    "https://github.com/localstack/localstack/blob/8b9a79f05846835cf4dff63ab7eefdde9df83783"
    "/tests/aws/services"
)
_SCENARIOS = f"{_RECORDED}/stepfunctions/v2/scenarios/test_base_scenarios.snapshot.json"
_LIMITS = f"{_RECORDED}/stepfunctions/v2/error_handling/test_states_errors.snapshot.json"
_LAMBDAS = f"{_RECORDED}/lambda_/test_lambda.snapshot.json"
_COUNTS = "https://github.com/floci-io/floci/pull/2694"
_ANSWERS = f"{_RECORDED}/stepfunctions/v2/test_sfn_api.snapshot.json"

_COUNT = {"attempt.$": "$$.State.RetryCount", "redriven.$": "$$.Execution.RedriveCount"}
_ODD_FAILS = {
    "Type": "Choice",
    "Choices": [{"Variable": "$.value", "NumericEquals": 1, "Next": "Fail"}],
    "Default": "Done",
}


@dataclass(frozen=True)
class Behaviour:
    """An expectation: ``see`` returns what was seen, which should be ``expected``.

    ``source``: AWS's page; ``recorded``: the file with an answer of AWS that shows it;
    ``rehearsed``: what is seen in a rehearsal instead, if it differs.
    """

    name: str
    says: str
    see: Callable[[Account], Any]
    expected: Any
    source: str | None
    recorded: str | None
    rehearsed: Any = None


BEHAVIOURS: list[Behaviour] = []


def behaviour(
    expected: Any, *, source: str | None = None, recorded: str | None = None, rehearsed: Any = None
) -> Callable[[Callable[[Account], Any]], Callable[[Account], Any]]:
    """Enlist the function: its docstring says what is expected."""

    def enlist(see: Callable[[Account], Any]) -> Callable[[Account], Any]:
        says = " ".join((see.__doc__ or "").split())
        BEHAVIOURS.append(Behaviour(see.__name__, says, see, expected, source, recorded, rehearsed))
        return see

    return enlist


# ---- empty maps ----------------------------------------------------------------------------------

_EMPTY = {
    "status": "SUCCEEDED",
    "output": ["MapRunArn", "ResultWriterDetails"],
    "map run": ("SUCCEEDED", 0),
    "files": {"FAILED": [], "PENDING": [], "SUCCEEDED": []},
}


def _seen_of_empty(account: Account, **more: Any) -> Any:
    ran = account.run(account.map([], **more))
    run = ran.map_run()
    return {
        "status": ran.status,
        "output": sorted(ran.output),
        "map run": (run["status"], run["itemCounts"]["total"]),
        "files": ran.files(),
    }


@behaviour(_EMPTY)
def empty_map(account: Account) -> Any:
    """A Distributed Map over an empty array in S3 succeeds, as a map run without children."""
    return _seen_of_empty(account)


@behaviour(_EMPTY)
def empty_map_in_batches(account: Account) -> Any:
    """So does one with `ItemBatcher`: there is no empty batch."""
    return _seen_of_empty(account, ItemBatcher={"MaxItemsPerBatch": 10, "BatchInput": {"a": 1}})


@behaviour(_EMPTY)
def empty_map_with_a_threshold(account: Account) -> Any:
    """So does one that tolerates a share of failures, of none."""
    return _seen_of_empty(account, ToleratedFailurePercentage=10)


@behaviour(_EMPTY)
def empty_map_of_express_children(account: Account) -> Any:
    """So does one whose children are EXPRESS."""
    return _seen_of_empty(account, kind="EXPRESS")


@behaviour(("SUCCEEDED", []), recorded=_SCENARIOS)
def empty_inline_map(account: Account) -> Any:
    """An inline map over an empty array succeeds with an empty array."""
    inner = {"StartAt": "Inner", "States": {"Inner": {"Type": "Pass", "End": True}}}
    ran = account.run({"Map": {"Type": "Map", "ItemProcessor": inner, "End": True}}, [])
    return ran.status, ran.output


# ---- maps ----------------------------------------------------------------------------------------


@behaviour([{"index": 0, "value": "a"}, {"index": 1, "value": "b"}], recorded=_SCENARIOS)
def item_selector(account: Account) -> Any:
    """`ItemSelector` makes a child's input of `$$.Map.Item.Index` and `$$.Map.Item.Value`."""
    return sorted(_outputs(account.run(account.map(["a", "b"]))), key=lambda each: each["index"])


@behaviour(True, source=f"{_GUIDE}/input-output-contextobject.html")
def context_of_a_child(account: Account) -> Any:
    """`$$.Execution.Input` and `$$.Execution.Name` in a child are the child's own."""
    told = {"own.$": "$$.Execution.Input", "name.$": "$$.Execution.Name"}
    ran = account.run(account.map(["a"], {"Type": "Pass", "Parameters": told, "End": True}))
    (child,) = ran.children()
    expected = {"own": {"index": 0, "value": "a"}, "name": child.told["name"]}
    return _outputs(ran) == [expected] and child.told["name"] != ran.told["name"]


@behaviour([1, 3, 3], source=f"{_GUIDE}/input-output-itembatcher.html", recorded=_SCENARIOS)
def batches(account: Account) -> Any:
    """`ItemBatcher` gives children `{BatchInput, Items}`, with at most so many items."""
    batcher = {"MaxItemsPerBatch": 3, "BatchInput": {"a": 1}}
    outputs = _outputs(account.run(account.map(list(range(7)), ItemBatcher=batcher)))
    return sorted(len(each["Items"]) for each in outputs if each["BatchInput"] == {"a": 1})


@behaviour(True, source=f"{_GUIDE}/input-output-itembatcher.html")
def batches_by_bytes(account: Account) -> Any:
    """`MaxInputBytesPerBatch` ends a batch before its items, as JSON, have more bytes."""
    batcher = {"MaxItemsPerBatch": 10, "MaxInputBytesPerBatch": 1000}
    outputs = _outputs(account.run(account.map(["x" * 300] * 7, ItemBatcher=batcher)))
    sizes = [len(json.dumps(each["Items"], separators=(",", ":"))) for each in outputs]
    return len(sizes) > 1 and max(sizes) <= 1000


@behaviour(["States.DataLimitExceeded"], source=f"{_GUIDE}/service-quotas.html")
def input_of_a_child(account: Account) -> Any:
    """A child whose input is over 256 KiB fails; the map counts it as failed."""
    batcher = {"MaxItemsPerBatch": 1, "BatchInput": {"text": "x" * 256 * 1024}}
    ran = account.run(account.map([0], ItemBatcher=batcher, ToleratedFailurePercentage=100))
    return [each.get("Error") for each in ran.files()["FAILED"]]


@behaviour(
    ("FAILED", "States.ExceedToleratedFailureThreshold"),
    source=_MAP,
    recorded=f"{_RECORDED}/stepfunctions/v2/test_state/test_state_configuration.snapshot.json",
)
def failed_item(account: Account) -> Any:
    """An item that fails, and is not tolerated, ends the map."""
    ran = account.run(account.map(list(range(3)), _ODD_FAILS))
    return ran.status, ran.error


@behaviour(("SUCCEEDED", "SUCCEEDED", "FAILED"), source=_MAP)
def threshold(account: Account) -> Any:
    """As many failures as the threshold, by count or by percentage, are tolerated; more are not."""
    thresholds: list[dict[str, int]] = [
        {"ToleratedFailureCount": 1},
        {"ToleratedFailurePercentage": 25},
        {"ToleratedFailurePercentage": 24},
    ]
    items = list(range(4))
    return tuple(account.run(account.map(items, _ODD_FAILS, **each)).status for each in thresholds)


@behaviour("SUCCEEDED", source=_MAP)
def all_failures_tolerated(account: Account) -> Any:
    """A map with `ToleratedFailurePercentage` 100 succeeds, whatever fails."""
    tolerant = {"ToleratedFailurePercentage": 100}
    return account.run(account.map([1, 1], _ODD_FAILS, **tolerant)).status


@behaviour(
    {
        "SUCCEEDED": [{"Output": {"index": 0, "value": 0}, "Status": "SUCCEEDED"}],
        "FAILED": [{"Error": "Odd", "Cause": "it is odd", "Status": "FAILED"}],
        "PENDING": [],
    },
    source=f"{_GUIDE}/input-output-resultwriter.html",
)
def result_files(account: Account) -> Any:
    """`ResultWriter` writes a manifest, and files with the output or error of each child."""
    ran = account.run(account.map([0, 1], _ODD_FAILS, ToleratedFailureCount=1))

    def row(told: Any) -> Any:
        if "Output" in told:
            return {"Output": json.loads(told["Output"]), "Status": told["Status"]}
        return {key: told.get(key) for key in ("Error", "Cause", "Status")}

    return {status: [row(each) for each in rows] for status, rows in ran.files().items()}


@behaviour(
    {"total": 3, "succeeded": 2, "failed": 1, "pending": 0, "running": 0, "aborted": 0},
    source=f"{_API}/API_DescribeMapRun.html",
    recorded=f"{_RECORDED}/stepfunctions/v2/test_sfn_api_map_run.snapshot.json",
)
def counts_of_a_map_run(account: Account) -> Any:
    """`DescribeMapRun` counts items; after a success, none of them is pending."""
    run = account.run(account.map([0, 1, 2], _ODD_FAILS, ToleratedFailureCount=1)).map_run()
    names = ("total", "succeeded", "failed", "pending", "running", "aborted")
    return {name: run["itemCounts"][name] for name in names}


@behaviour(
    {"failed": 1, "some are pending": True, "together": 6},
    source=f"{_API}/API_DescribeMapRun.html",
    recorded=_COUNTS,
)
def counts_of_a_failed_map_run(account: Account) -> Any:
    """Items that a map had not begun when it failed stay pending."""
    counts = account.run(account.map([0, 0, 0, 1, 0, 0], _ODD_FAILS, MaxConcurrency=1)).map_run()[
        "itemCounts"
    ]
    together = sum(counts[name] for name in ("pending", "succeeded", "failed", "aborted"))
    return {
        "failed": counts["failed"],
        "some are pending": counts["pending"] > 0,
        "together": together,
    }


@behaviour(("FAILED", "States.ItemReaderFailed"), source=_ERRORS)
def manifest_that_is_missing(account: Account) -> Any:
    """A file that does not exist fails the map by name."""
    states = account.map([])
    states["Map"]["ItemReader"]["Parameters"]["Key"] = "nothing.json"
    ran = account.run(states)
    return ran.status, ran.error


@behaviour(True, source=_MAP)
def concurrency_of_a_map(account: Account) -> Any:
    """No more children run at a time than `MaxConcurrency` says."""
    wait = {"Type": "Wait", "Seconds": 1, "End": True}
    return _most_at_once(account.run(account.map(list(range(5)), wait, MaxConcurrency=2))) <= 2


@behaviour(2, source=f"{_API}/API_UpdateMapRun.html")
def concurrency_of_a_running_map(account: Account) -> Any:
    """`UpdateMapRun` changes how many children of a map run at a time, while it runs."""
    wait = {"Type": "Wait", "Seconds": 2, "End": True}
    arn = account.start(account.machine(account.map(list(range(3)), wait, MaxConcurrency=1)))
    account.until(lambda: _begun(account, arn))
    (run,) = account.sfn.list_map_runs(executionArn=arn)["mapRuns"]
    account.sfn.update_map_run(mapRunArn=run["mapRunArn"], maxConcurrency=2)
    return _most_at_once(account.ended(arn))


def _most_at_once(ran: Ran) -> int:
    """How many children ran at a time, at most."""
    spans = [(each.told["startDate"], each.told["stopDate"]) for each in ran.children()]
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def _begun(account: Account, arn: str) -> Any:
    """The children of an execution's only map, as soon as there are some."""
    runs = account.sfn.list_map_runs(executionArn=arn)["mapRuns"]
    return runs and account.sfn.list_executions(mapRunArn=runs[0]["mapRunArn"])["executions"]


@behaviour(
    {"run": "ABORTED", "map run": "ABORTED", "children": ["ABORTED"], "error": "Why"},
    source=f"{_API}/API_StopExecution.html",
    recorded=_COUNTS,
)
def stopped_map(account: Account) -> Any:
    """Stopping an execution aborts its map run and its children, and keeps error and cause."""
    wait = {"Type": "Wait", "Seconds": 60, "End": True}
    arn = account.start(account.machine(account.map([0], wait)))
    account.until(lambda: _begun(account, arn))
    account.sfn.stop_execution(executionArn=arn, error="Why", cause="because")
    ran = account.ended(arn)
    account.until(lambda: ran.map_run()["status"] != "RUNNING")
    return {
        "run": ran.status,
        "map run": ran.map_run()["status"],
        "children": [each.status for each in ran.children()],
        "error": ran.error,
    }


# ---- errors and retries --------------------------------------------------------------------------


def _retrier(*names: str, attempts: int, **more: Any) -> dict[str, Any]:
    return {"ErrorEquals": list(names), "MaxAttempts": attempts, "IntervalSeconds": 1, **more}


@behaviour(2, source=f"{_GUIDE}/input-output-contextobject.html", recorded=_SCENARIOS)
def retry_count(account: Account) -> Any:
    """`$$.State.RetryCount` is 0 in the first attempt, and one more in each other."""
    state = account.call(
        {"does": ["raise", "raise"], **_COUNT}, Retry=[_retrier("Odd", attempts=3)]
    )
    return account.run({"Call": state}).output["attempt"]


@behaviour(3, source=_ERRORS)
def retry_count_of_several_retriers(account: Account) -> Any:
    """Each retrier has its own attempts, and `$$.State.RetryCount` counts those of all."""
    state = account.call(
        {"does": ["raise", "exit", "raise"], **_COUNT},
        Retry=[_retrier("Odd", attempts=2), _retrier("Runtime.ExitError", attempts=1)],
    )
    return account.run({"Call": state}).output["attempt"]


@behaviour(("FAILED", "Odd", 1), source=_ERRORS, recorded=_SCENARIOS)
def first_retrier_that_matches(account: Account) -> Any:
    """The first retrier that matches decides: with `MaxAttempts` 0, there is no other attempt."""
    state = account.call(
        {"does": ["raise"], **_COUNT},
        Retry=[_retrier("Odd", attempts=0), _retrier("States.ALL", attempts=3)],
    )
    ran = account.run({"Call": state})
    return ran.status, ran.error, _types(ran).count("TaskScheduled")


@behaviour("accepted", source=_ERRORS)
def retries_for_hours(account: Account) -> Any:
    """A retrier may have 2,000 attempts, with `MaxDelaySeconds` and full jitter."""
    retry = _retrier("Odd", attempts=2_000, MaxDelaySeconds=30, JitterStrategy="FULL")
    state = account.call({}, Retry=[{**retry, "BackoffRate": 2.0}])
    return account.refusal(lambda: account.machine({"Call": state}))


@behaviour(
    ("Odd", ["errorMessage", "errorType", "requestId", "stackTrace"]),
    source=_ERRORS,
    recorded=f"{_RECORDED}/stepfunctions/v2/error_handling/test_task_service_lambda.snapshot.json",
)
def error_of_a_function(account: Account) -> Any:
    """An exception's error is the name of its class, and its cause is JSON."""
    ran = account.run({"Call": account.call({"does": ["raise"]})})
    return ran.error, sorted(json.loads(ran.told["cause"]))


@behaviour("Runtime.ExitError", recorded=_LAMBDAS)
def end_of_a_process(account: Account) -> Any:
    """A function whose process ends fails with this name."""
    return account.run({"Call": account.call({"does": ["exit"]})}).error


@behaviour("Sandbox.Timedout", recorded=_LAMBDAS)
def timeout_of_a_function(account: Account) -> Any:
    """A function that takes too long fails with this name."""
    return account.run({"Call": account.call({"does": ["sleep"], "seconds": TIMEOUT + 8})}).error


@behaviour(
    ("States.Timeout", None),
    recorded=f"{_RECORDED}/stepfunctions/v2/timeouts/test_timeouts.snapshot.json",
)
def timeout_of_a_state(account: Account) -> Any:
    """A state that takes too long fails with this name, and without a cause."""
    call = account.call({"does": ["sleep"], "seconds": TIMEOUT - 0.1}, TimeoutSeconds=1)
    ran = account.run({"Call": call})
    return ran.error, ran.told.get("cause")


@behaviour(("SUCCEEDED", "States.Timeout"), source=_ERRORS)
def task_failed(account: Account) -> Any:
    """`States.TaskFailed` matches what a function fails with, but not `States.Timeout`."""
    retry = {"Retry": [_retrier("States.TaskFailed", attempts=1)]}
    failing = account.call({"does": ["raise"], **_COUNT}, **retry)
    slow = account.call(
        {"does": ["sleep"], "seconds": TIMEOUT - 0.1, **_COUNT}, TimeoutSeconds=1, **retry
    )
    return account.run({"Call": failing}).status, account.run({"Call": slow}).error


@behaviour(
    ("FAILED", "Lambda.TooManyRequestsException"),
    source="https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html",
)
def function_without_room(account: Account) -> Any:
    """A call that Lambda refuses for its concurrency fails with this name."""
    ran = account.run({"Call": account.call({}, function=account.refusing)})
    return ran.status, ran.error


# ---- data ----------------------------------------------------------------------------------------


@behaviour("States.DataLimitExceeded", source=f"{_GUIDE}/service-quotas.html", recorded=_LIMITS)
def result_of_a_function(account: Account) -> Any:
    """A function's answer over 256 KiB fails its state."""
    return account.run({"Call": account.call({"does": ["large"]})}).error


@behaviour("States.DataLimitExceeded", source=f"{_GUIDE}/service-quotas.html", recorded=_LIMITS)
def output_of_a_state(account: Account) -> Any:
    """So does any state's output over 256 KiB."""
    wrapped = {"Type": "Pass", "Parameters": {"all.$": "$", "again.$": "$"}, "End": True}
    return account.run({"Wrap": wrapped}, {"text": "x" * 200 * 1024}).error


@behaviour(
    ["ExecutedVersion", "Payload", "SdkHttpMetadata", "SdkResponseMetadata", "StatusCode"],
    recorded=f"{_RECORDED}/stepfunctions/v2/services/test_lambda_task_service.snapshot.json",
)
def answer_of_a_function(account: Account) -> Any:
    """`lambda:invoke` adds to a function's answer, and that counts, too."""
    call = account.call({})
    del call["OutputPath"]
    return sorted(account.run({"Call": call}).output)


@behaviour(
    {"text": '{"a":[1,"ü"]}', "key": "s3://b/runs/x/5"},
    source=f"{_GUIDE}/intrinsic-functions.html",
)
def intrinsic_functions(account: Account) -> Any:
    """`States.JsonToString` writes what it is given as JSON, `States.Format` takes numbers."""
    told = {
        "text.$": "States.JsonToString($.given)",
        "key.$": "States.Format('s3://b/runs/{}/{}', $.name, $.number)",
    }
    given = {"given": {"a": [1, "ü"]}, "name": "x", "number": 5}
    output = account.run({"Make": {"Type": "Pass", "Parameters": told, "End": True}}, given).output
    return {**output, "text": json.dumps(json.loads(output["text"]), separators=(",", ":"),
                                         ensure_ascii=False)}  # fmt: skip


# ---- executions ----------------------------------------------------------------------------------

PASS = {"Pass": {"Type": "Pass", "End": True}}
_WAIT = {"Wait": {"Type": "Wait", "Seconds": 3, "End": True}}


@behaviour((True, "ExecutionAlreadyExists"), recorded=_ANSWERS)
def same_name_while_it_runs(account: Account) -> Any:
    """A name that runs joins that execution with the same input, and is refused with another."""
    machine = account.machine(_WAIT)
    first = account.start(machine, {"a": 1}, name="one")
    joined = account.start(machine, {"a": 1}, name="one") == first
    return joined, account.refusal(lambda: account.start(machine, {"a": 2}, name="one"))


@behaviour("ExecutionAlreadyExists", source=f"{_API}/API_StartExecution.html")
def same_name_after_its_end(account: Account) -> Any:
    """A name is taken for 90 days after its execution has ended, even with the same input."""
    machine = account.machine(PASS)
    account.ended(account.start(machine, {"a": 1}, name="one"))
    return account.refusal(lambda: account.start(machine, {"a": 1}, name="one"))


@behaviour(["second", "first"], recorded=_ANSWERS)
def order_of_executions(account: Account) -> Any:
    """`ListExecutions` has the newest first."""
    machine = account.machine(PASS)
    for name in ("first", "second"):
        account.ended(account.start(machine, name=name))
    found = account.sfn.list_executions(stateMachineArn=machine)["executions"]
    return [each["name"] for each in found]


@behaviour((True, ["new", "old"]), source=_REDRIVE)
def definition_of_an_execution(account: Account) -> Any:
    """An execution keeps its definition when its machine is updated, also when it is redriven."""
    calls = account.call({"odd until redriven": True, **_COUNT}, Next="Say")
    del calls["End"]

    def says(text: str) -> dict[str, Any]:
        return {"Call": calls, "Say": {"Type": "Pass", "Result": {"says": text}, "End": True}}

    machine = account.machine(says("old"))
    failed = account.ended(account.start(machine))
    definition = json.dumps({"StartAt": "Call", "States": says("new")})
    account.sfn.update_state_machine(stateMachineArn=machine, definition=definition)
    told = account.sfn.describe_state_machine_for_execution(executionArn=failed.arn)
    kept = '"old"' in told["definition"]
    if not account.is_rehearsal:
        time.sleep(10)  # an update may take seconds (API_UpdateStateMachine.html)
    newer = account.redriven(account.ended(account.start(machine)))
    return kept, [each.output["says"] for each in (newer, account.redriven(failed))]


@behaviour(
    {"status": "SUCCEEDED", "redriven": [(0, 0), (1, 1)], "the same run": True, "items": 2},
    source=f"{_GUIDE}/redrive-map-run.html",
)
def redriven_map(account: Account) -> Any:
    """A redrive runs the children that failed, in the same map run, with `RedriveCount` 1."""
    payload = {"odd until redriven.$": "$.value", "value.$": "$.value", **_COUNT}
    ran = account.run(account.map([0, 1], account.call(payload), MaxConcurrency=1))
    before = ran.map_run()["mapRunArn"]
    again = account.redriven(ran)
    outputs = [each.output for each in again.children()]
    return {
        "status": again.status,
        "redriven": sorted((each["value"], each["redriven"]) for each in outputs),
        "the same run": again.map_run()["mapRunArn"] == before,
        "items": again.map_run()["itemCounts"]["succeeded"],
    }


@behaviour((0, 1), source=_REDRIVE)
def retries_of_a_redrive(account: Account) -> Any:
    """The state that is redriven has all its retries again, and `RetryCount` begins with 0."""
    state = account.call(
        {"odd until redriven": True, **_COUNT}, Retry=[_retrier("Odd", attempts=1)]
    )
    output = account.redriven(account.run({"Call": state})).output
    return output["attempt"], output["redriven"]


@behaviour(("ExecutionNotRedrivable", "NOT_REDRIVABLE"), source=_REDRIVE, recorded=_ANSWERS)
def redrive_of_a_success(account: Account) -> Any:
    """An execution that has succeeded cannot be redriven, and says so beforehand."""
    ran = account.run(PASS)
    return account.refusal(lambda: account.redriven(ran)), ran.told["redriveStatus"]


def _outputs(ran: Ran) -> list[Any]:
    """The outputs of the children that have succeeded."""
    return [json.loads(each["Output"]) for each in ran.files()["SUCCEEDED"]]


def _types(ran: Ran) -> list[str]:
    return [each["type"] for each in ran.events()]


# ---- the command ---------------------------------------------------------------------------------


def seen(account: Account, behaviours: Sequence[Behaviour]) -> dict[str, Any]:
    """What is seen of each, by name; an error is a text. Most of the time is waiting."""

    def of(each: Behaviour) -> Any:
        try:
            return each.see(account)
        except Exception as error:  # of AWS, or an answer of another form
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(max_workers=8) as threads:
        return dict(zip([each.name for each in behaviours], threads.map(of, behaviours)))


@click.command()
@click.option("--account", "is_real", is_flag=True, help="Ask a real account.")
@click.option("--document", is_flag=True, help="Only write the table in the documentation.")
@click.argument("names", nargs=-1)
def main(is_real: bool, document: bool, names: tuple[str, ...]) -> None:
    """See of the behaviours of these NAMES, all by default, whether they are as expected."""
    if document:
        write_document()
        return
    chosen = [each for each in BEHAVIOURS if not names or each.name in names]
    with Account() if is_real else rehearsed() as account:
        found = seen(account, chosen)
    different = 0
    for each in chosen:
        is_expected = found[each.name] == each.expected
        different += not is_expected
        click.echo(f"{'' if is_expected else 'DIFFERS':<8} {each.name:<32} {found[each.name]}")
        if not is_expected:
            click.echo(f"{'':<8} {'  expected':<32} {each.expected}")
    click.echo(f"{len(chosen)} behaviours, {different} not as expected")
    sys.exit(bool(is_real and different))


# ---- the documentation ---------------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[2] / "docs" / "step-functions.md"
_HEAD = "| behaviour | what lokki expects | AWS says | AWS was seen | the rehearsal |\n"


def table() -> str:
    """The table of all behaviours in Markdown, and the addresses in it."""
    rows, links = [_HEAD, "|---|---|---|---|---|\n"], set()
    for each in BEHAVIOURS:
        links |= {url for url in (each.source, each.recorded) if url}
        said = _link(each.source) if each.source else "nothing"
        answer = _link(each.recorded) if each.recorded else "**unproven**"
        same = "the same" if each.rehearsed is None else f"differs: `{each.rehearsed}`"
        rows.append(f"| `{each.name}` | {each.says} | {said} | {answer} | {same} |\n")
    return "".join([*rows, "\n", *(f"{_link(url)}: {url}\n" for url in sorted(links))])


def _link(url: str) -> str:
    *_, repository, kind, last = url.split("/")
    return f"[{repository}#{last}]" if kind == "pull" else f"[{last.partition('.')[0]}]"


def write_document() -> None:
    """Write the table into its page, in the place of the last one."""
    before, _, after = DOCUMENT.read_text("utf-8").partition(_HEAD)
    DOCUMENT.write_text(before + table() + after[after.index("\n## ") :], "utf-8")


if __name__ == "__main__":
    main()
