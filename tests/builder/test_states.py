"""Flows as state machines: which states there are, how they are linked, when they are retried."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki import FlowGraph, MapStage, RetryConfig, step
from lokki.builder.children import standard_notes
from lokki.builder.retries import death_names, error_names, job_attempts, retriers, rounded
from lokki.builder.sizes import sizes_of
from lokki.builder.states import INIT, names_of, state_machine
from lokki.config import Config, load
from lokki.errors import ConfigError, LokkiError, WorkerDied
from lokki.runtime.deaths import DEATHS
from lokki.runtime.units import unit_of, units


@step
def get_items():
    return [1, 2]


@step
def clean(value):
    return value


@step
def cleaN(value):
    return value


@step
def work(value):
    return value


@step
def joined(values):
    return values


STEPS = (clean, cleaN, work)


@st.composite
def graphs(draw):
    """Flows of any structure."""
    chain = get_items()
    for kind in draw(st.lists(st.sampled_from(["next", "map"]), max_size=4)):
        if kind == "next":
            chain = chain.next(draw(st.sampled_from(STEPS)))
            continue
        first, *later = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3))
        chain = chain.map(
            first,
            concurrency_limit=draw(st.none() | st.integers(1, 100)),
            tolerated_failures=draw(st.integers(0, 5) | st.floats(0.01, 0.99)),
            batch_size=draw(st.none() | st.integers(1, 100)),
            direct_pass=draw(st.booleans()),
        )
        for each in later:
            chain = chain.next(each)
        chain = chain.agg(joined)
    if draw(st.booleans()):
        chain = chain.map(work)
    return FlowGraph("any-flow", chain.stages)


def walked(machine):
    """The names of the states from the first to the last, each of which comes once."""
    name, seen = machine["StartAt"], []
    while True:
        seen.append(name)
        state = machine["States"][name]
        if state.get("End"):
            assert "Next" not in state
            break
        name = state["Next"]
    assert len(seen) == len(set(seen))
    assert set(seen) == set(machine["States"])
    return seen


def machine_of(chain, name="a-flow", **settings):
    graph = FlowGraph(name, chain.stages)
    return json.loads(json.dumps(state_machine(graph, load(settings)).to_json()))


@given(graphs())
def test_every_flow_is_a_walk_through_all_of_its_states(graph):
    machine = json.loads(json.dumps(state_machine(graph, Config()).to_json()))
    begin, *states = walked(machine)
    assert begin == INIT
    assert len(states) == len(graph.stages)
    every = set(machine["States"])
    for stage, name in zip(graph.stages, states, strict=True):
        state = machine["States"][name]
        inner = state.get("ItemProcessor")
        assert (state["Type"] == "Map") == (inner is not None) == isinstance(stage, MapStage)
        if inner is not None:
            assert len(walked(inner)) == (1 if stage.direct_pass else len(stage.calls))
            assert not every & set(inner["States"]), "names are those of a whole document"
            every |= set(inner["States"])
            assert state["MaxConcurrency"] == (stage.concurrency_limit or 1_000)
    assert all(len(name) <= 80 and name.isascii() for name in every)


def test_names_are_in_pascal_case_and_no_two_are_alike():
    chain = get_items().next(clean).next(cleaN).next(clean)
    names = names_of(FlowGraph("f", chain.stages))
    assert names.calls == {
        "get_items": "GetItems",
        "clean": "Clean",
        "cleaN": "CleaN",
        "clean-2": "Clean2",
    }


def test_a_step_may_have_the_name_of_another_state():
    @step
    def init_flow():
        return [1]

    @step
    def map_work(value):
        return value

    chain = init_flow().next(map_work).map(work)
    names = names_of(FlowGraph("f", chain.stages))
    assert names.calls == {"init_flow": "InitFlow2", "map_work": "MapWork", "work": "Work"}
    assert names.maps == {"work": "MapWork2"}


def test_the_labels_of_maps_are_short_and_each_maps_own():
    first, second = (step(_named("a" * 59 + end)) for end in "xy")
    chain = get_items().map(first).agg(joined).map(second)
    labels = names_of(FlowGraph("f", chain.stages)).labels.values()
    assert all(len(label) <= 40 for label in labels)
    assert len(set(labels)) == 2


def _named(name):
    def fn(value=None):
        return value

    fn.__name__ = fn.__qualname__ = name
    return fn


def test_a_map_reads_the_items_that_the_step_before_has_listed():
    state = machine_of(get_items().map(work, concurrency_limit=7).agg(joined))["States"]["MapWork"]
    assert state["ItemReader"]["Parameters"] == {
        "Bucket": "${S3Bucket}",
        "Key.$": "$.input.manifest",
    }
    assert state["ItemSelector"] == {
        "flow": {"run_id.$": "$$.Execution.Name", "params.$": "$$.Execution.Input"},
        "index.$": "$$.Map.Item.Index",
        "input.$": "$$.Map.Item.Value.input",
    }
    assert "ItemBatcher" not in state
    assert state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert state["MaxConcurrency"] == 7
    assert "a-flow/runs/{}/work/" in state["ResultWriter"]["Parameters"]["Prefix.$"]
    assert state["ResultSelector"]["input"] == {"map": "work"}
    assert state["Next"] == "Joined"


@pytest.mark.parametrize(
    ("tolerated", "count", "percentage"),
    [(0, None, None), (3, 3, None), (0.25, None, 25), (0.001, None, 1)],
)
def test_tolerated_failures(tolerated, count, percentage):
    chain = get_items().map(work, tolerated_failures=tolerated)
    state = machine_of(chain)["States"]["MapWork"]
    assert state.get("ToleratedFailureCount") == count
    assert state.get("ToleratedFailurePercentage") == percentage


# ---- retries -------------------------------------------------------------------------------------


def place(fn, **options):
    """Where a step is that a flow calls alone."""
    graph = FlowGraph("a-flow", step(**options)(fn)().stages)
    return next(units(graph))


def own_retrier(**policy):
    """The retrier of a step's own policy; None without one."""
    found = [each.to_json() for each in retriers(place(_named("retried"), retry=policy))]
    assert "Lambda.TooManyRequestsException" in found[0]["ErrorEquals"]
    assert "Lambda.ServiceException" in found[1]["ErrorEquals"]
    assert "Lambda.CodeArtifactUserPendingException" in found[2]["ErrorEquals"]
    assert found[3]["ErrorEquals"] == ["RetryLater"]
    if len(found) == 4:
        return None
    assert "FingerprintError" in found[4]["ErrorEquals"]
    assert found[4]["MaxAttempts"] == 0
    return found[5]


def test_a_later_try_is_waited_for_about_an_hour():
    (later,) = [
        each for each in retriers(place(_named("retried"))) if each.error_equals == ("RetryLater",)
    ]
    waits = [
        min(later.interval_seconds * 2.0**number, later.max_delay_seconds)
        for number in range(later.max_attempts)
    ]
    assert 3600 < sum(waits) / 2 < 5400, "the mean, as they have full jitter"


def test_a_step_without_retries_is_retried_for_lambdas_own_failures_alone():
    assert own_retrier() is None
    assert own_retrier(retries=0, delay=5) is None


def test_a_function_that_is_being_prepared_is_waited_for():
    """https://github.com/aws-solutions-library-samples/accelerated-intelligent-document-processing-on-aws/issues/801
    (2026-09): after weeks without calls, a function is refused for 40 to 106 s."""
    found = retriers(place(_named("retried")))
    (starting,) = [
        each for each in found if "Lambda.CodeArtifactUserPendingException" in each.error_equals
    ]
    assert "Lambda.ResourceConflictException" in starting.error_equals
    waits = [
        min(2.0**number, starting.max_delay_seconds) for number in range(starting.max_attempts)
    ]
    assert sum(waits) / 2 > 2 * 106, "the mean, as they have full jitter"


def test_a_policy_means_the_same_as_locally():
    policy = {"retries": 3, "delay": 2, "backoff": 3, "max_delay": 30}
    assert own_retrier(**policy, exceptions=(_Worse,)) == {
        "ErrorEquals": ["_Worse"],
        "IntervalSeconds": 2,
        "MaxAttempts": 3,
        "BackoffRate": 3,
        "MaxDelaySeconds": 30,
    }


def test_waits_are_whole_seconds_from_one():
    found = own_retrier(retries=1, delay=0.01, backoff=0.5, max_delay=0.5)
    assert (found["IntervalSeconds"], found["BackoffRate"], found["MaxDelaySeconds"]) == (1, 1.0, 2)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({"delay": 30, "max_delay": 5}, (5, 1.0, None)),
        ({"delay": 30, "max_delay": 30, "backoff": 3}, (30, 1.0, None)),
        ({"delay": 4, "max_delay": 5, "backoff": 3}, (4, 3.0, 5)),
    ],
)
def test_no_wait_is_longer_than_the_longest(policy, waits):
    found = own_retrier(retries=2, **policy)
    assert RetryConfig(retries=2, **policy).wait(1) == found["IntervalSeconds"]
    assert (found["IntervalSeconds"], found["BackoffRate"], found.get("MaxDelaySeconds")) == waits


class _Trouble(LookupError):
    pass


class _Worse(_Trouble):
    pass


def test_only_the_classes_of_a_policy_are_named_whatever_is_imported():
    assert error_names((LookupError, _Trouble)) == ("LookupError", "_Trouble")


@pytest.mark.parametrize("kinds", [(Exception,), (BaseException,), (KeyError, Exception)])
def test_every_exception_is_every_failure(kinds):
    assert error_names(kinds) == ("States.TaskFailed", "States.Timeout")


def test_a_retry_config_is_taken_as_it_is():
    policy = RetryConfig(retries=2, exceptions=(LokkiError,))
    *_, found = retriers(place(_named("retried"), retry=policy))
    assert found.max_attempts == 2
    assert found.error_equals == (
        "Lambda.Unknown",
        "LokkiError",
        "Runtime.ExitError",
        "Runtime.OutOfMemory",
    )


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ((OSError,), {"Sandbox.Timedout", "States.Timeout"}),
        ((TimeoutError,), {"Sandbox.Timedout", "States.Timeout"}),
        ((WorkerDied,), {"Runtime.ExitError", "Runtime.OutOfMemory", "Lambda.Unknown"}),
        ((KeyError,), set()),
    ],
)
def test_what_aws_calls_a_timeout_and_a_lost_process(kinds, names):
    found = set(error_names(kinds))
    every = {name for each in DEATHS.values() for name in each}
    assert found & every == names
    assert {kind.__name__ for kind in kinds} <= found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"retries": 1, "delay": 0.5}, ["delay=0.5 becomes 1"]),
        ({"retries": 1, "delay": 1.5}, ["delay=1.5 becomes 2"]),
        (
            {"retries": 3, "delay": 0.5, "max_delay": 0.7},
            ["delay=0.5 becomes 1", "max_delay=0.7 becomes 2"],
        ),
        ({"retries": 3, "delay": 2, "max_delay": 2.5}, ["max_delay=2.5 becomes 3"]),
        ({"retries": 1, "delay": 2, "max_delay": 2.5}, []),
        ({"retries": 0, "delay": 0.5}, []),
        ({"retries": 1, "delay": 2}, []),
    ],
)
def test_waits_that_are_rounded_are_known(policy, expected):
    assert rounded(RetryConfig(**policy)) == expected


# ---- several calls or items in one invocation ----------------------------------------------------


@step(retry={"retries": 4, "exceptions": (KeyError, WorkerDied)})
def patient(value):
    return value


def test_a_direct_pass_has_one_state_which_is_retried_for_lost_processes_alone():
    chain = get_items().map([work, patient], direct_pass=True).agg(joined)
    state = machine_of(chain)["States"]["MapWork"]
    (name, inner), *others = state["ItemProcessor"]["States"].items()
    assert (name, others) == ("Work", [])
    assert inner["Parameters"]["FunctionName"] == "${WorkArn}"
    assert inner["Retry"][-1]["ErrorEquals"] == list(death_names((WorkerDied,)))
    assert inner["Retry"][-1]["MaxAttempts"] == 4


def test_batches_of_items_go_from_state_to_state():
    chain = get_items().map(work, batch_size=10, tolerated_failures=3).next(clean).agg(joined)
    state = machine_of(chain)["States"]["MapWork"]
    flow = {"run_id.$": "$$.Execution.Name", "params.$": "$$.Execution.Input"}
    assert state["ItemBatcher"] == {
        "MaxItemsPerBatch": 10,
        "MaxInputBytesPerBatch": 192 * 1024,
        "BatchInput": {"flow": flow},
    }
    assert set(state["ItemSelector"]) == {"index.$", "input.$"}
    inner = state["ItemProcessor"]["States"]
    first, second = (inner[name]["Parameters"]["Payload"] for name in ("Work", "Clean"))
    assert (first["flow.$"], first["items.$"]) == ("$.BatchInput.flow", "$.Items")
    assert (second["flow.$"], second["items.$"]) == ("$.flow", "$.items")
    assert state["ToleratedFailurePercentage"] == 100, "the runtime counts the items that fail"


# ---- Batch ---------------------------------------------------------------------------------------


@step(job_type="batch", retry={"retries": 2, "exceptions": (KeyError,)})
def heavy(value):
    return value


@step(job_type="batch")
def heavy_list():
    return [1]


def test_a_job_is_given_its_event_and_its_result_is_known_by_where_it_is():
    states = machine_of(get_items().next(heavy))["States"]
    assert states["Heavy"]["Resource"] == "arn:aws:states:::batch:submitJob.sync"
    assert states["Heavy"]["Parameters"]["ContainerOverrides"]["Environment"] == [
        {"Name": "LOKKI_EVENT", "Value.$": "States.JsonToString($)"},
        {
            "Name": "LOKKI_REDRIVEN",
            "Value.$": "States.Format('{}', $$.Execution.RedriveCount)",
        },
    ]
    assert states["Heavy"]["ResultSelector"]["input.$"] == (
        "States.Format('s3://${S3Bucket}/a-flow/runs/{}/heavy/output.pkl.gz', $$.Execution.Name)"
    )


def test_the_items_that_a_job_has_listed_are_known_by_where_they_are():
    states = machine_of(heavy_list().map(work))["States"]
    assert states["HeavyList"]["ResultSelector"]["input"] == {
        "manifest.$": (
            "States.Format('a-flow/runs/{}/heavy_list/map_manifest.json', $$.Execution.Name)"
        )
    }


def test_a_job_in_a_map_knows_its_item_by_its_own_execution():
    states = machine_of(get_items().map(heavy).agg(joined))["States"]
    selected = states["MapHeavy"]["ItemProcessor"]["States"]["Heavy"]["ResultSelector"]
    assert selected["flow.$"] == "$$.Execution.Input.flow"
    assert selected["index.$"] == "$$.Execution.Input.index"


def test_a_job_tries_again_itself_what_its_policy_names():
    found = unit_of(FlowGraph("a-flow", get_items().next(heavy).stages), "heavy")
    strategy = job_attempts(found)
    assert strategy["EvaluateOnExit"][0] == {"OnExitCode": "64", "Action": "EXIT"}
    assert strategy["EvaluateOnExit"][-1] == {"OnReason": "*", "Action": "EXIT"}
    (only,) = retriers(found)
    assert all("Batch." in name for name in only.error_equals)


@pytest.mark.parametrize(("retries", "attempts"), [(0, 3), (1, 3), (5, 6), (50, 10)])
def test_a_job_whose_process_dies_is_run_again_as_often_as_it_would_be_here(retries, attempts):
    strategy = job_attempts(place(_named("x"), job_type="batch", retry={"retries": retries}))
    assert strategy["Attempts"] == attempts
    assert strategy["EvaluateOnExit"][-1]["Action"] == ("RETRY" if retries else "EXIT")


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout_seconds": 891}, "step 'x' may take 891 s, but at most 890 s in Lambda"),
        ({"memory_mb": 20_000}, "step 'x' needs memory_mb=20000"),
        ({"memory_mb": 64}, "step 'x' needs memory_mb=64"),
        ({"ephemeral_storage": 500}, "step 'x' needs ephemeral_storage=500, but Lambda has 512 to"),
        ({"ephemeral_storage": 10_241}, "but Lambda has 512 to 10240: give it job_type='batch'"),
        ({"job_type": "batch", "ephemeral_storage": 204_801}, "but Fargate has at most 204800"),
        ({"job_type": "batch", "gpu": 1, "vcpu": 0.5}, "a job on EC2 has a whole.*write vcpu=1"),
        ({"job_type": "batch", "gpu": 1, "ephemeral_storage": 9}, "on EC2 has the disk of its"),
        ({"job_type": "batch", "vcpu": 3}, "vcpu=3 and memory_mb=4096, but Fargate has 0.25, 0.5,"),
        ({"job_type": "batch", "memory_mb": 4097}, "Fargate has 4096 to 16384 MB .* steps of 1024"),
        ({"job_type": "batch", "vcpu": 1, "memory_mb": 9000}, "Fargate has 2048 to 8192 MB"),
    ],
)
def test_what_aws_does_not_give_is_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        machine_of(step(**options)(_named("x"))())


def test_ec2_has_other_cpus_and_memory_than_fargate():
    heavy = step(job_type="batch", vcpu=3, memory_mb=5_001)(_named("x"))
    assert machine_of(heavy(), **{"batch.platform": "EC2"})["States"]["X"]
    with pytest.raises(ConfigError, match="Fargate has"):
        machine_of(heavy())


def test_a_state_waits_longer_than_its_function_runs():
    states = machine_of(step(timeout_seconds=20)(_named("x"))())["States"]
    assert states["X"]["TimeoutSeconds"] == 20 + 10 + 60


# ---- express executions --------------------------------------------------------------------------


@step(timeout_seconds=30, retry={"retries": 3})
def brief(value):
    return value


@step(timeout_seconds=60, retry={"retries": 4})
def often(value):
    return value


@step(timeout_seconds=30, retry={"retries": 3, "delay": 60, "max_delay": 60})
def slowly(value):
    return value


@step(job_type="batch")
def job(value):
    return value


def kinds_of(chain, **settings):
    """The kinds of executions that a flow's maps start, and the notes on them."""
    graph = FlowGraph("a-flow", chain.stages)
    config = load({"batch.job_queue": "a-queue", **settings})
    states = state_machine(graph, config).to_json()["States"].values()
    kinds = [
        each["ItemProcessor"]["ProcessorConfig"]["ExecutionType"]
        for each in states
        if each["Type"] == "Map"
    ]
    return kinds, list(standard_notes(graph, config))


@pytest.mark.parametrize(
    ("mapped", "settings", "kind", "why"),
    [
        (get_items().map(brief), {"aws.map": "standard"}, "STANDARD", None),
        (get_items().map(brief), {}, "EXPRESS", None),
        (get_items().map(brief).next(brief), {}, "STANDARD", "an item may take 334 s"),
        (get_items().map(often), {}, "STANDARD", "an item may take 365 s"),
        (get_items().map(slowly), {}, "STANDARD", "an item may take 340 s"),
        (get_items().map(clean), {}, "STANDARD", "an item may take 900 s"),
        (get_items().map(clean), {"lambda.timeout": 300}, "EXPRESS", None),
        (get_items().map([brief, brief], direct_pass=True), {}, "EXPRESS", None),
        (get_items().map(job), {}, "STANDARD", "step 'job' is a Batch job"),
    ],
)
def test_a_map_starts_express_executions_where_all_attempts_fit_into_them(
    mapped, settings, kind, why
):
    kinds, notes = kinds_of(mapped, **{"aws.map": "express", **settings})
    assert kinds == [kind]
    assert [why in note for note in notes] == ([True] if why else [])


def test_maps_start_standard_executions_unless_configured():
    assert kinds_of(get_items().map(brief)) == (["STANDARD"], [])


@pytest.mark.parametrize(("size", "seconds"), [(5, 160), (100, 900)])
def test_a_function_has_the_time_of_all_items_that_it_gets(size, seconds):
    chain = get_items().map(brief, batch_size=size)
    _, unit = units(FlowGraph("a-flow", chain.stages))
    assert sizes_of(unit, Config()).timeout_seconds == seconds
