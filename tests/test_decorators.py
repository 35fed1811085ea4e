import asyncio
import inspect
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from lokki import Engine, Flow, FlowGraph, RetryConfig, Step, flow, step
from lokki.errors import DefinitionError, ParameterError


@step
def numbers(limit=3):
    return list(range(limit))


@step
def scaled(number, factor):
    return number * factor


@step
def total(values):
    return sum(values)


@flow
def scaled_sum(limit: int, factor: float = 2.0):
    """Scale and sum."""
    return numbers(limit=limit).map(scaled).agg(total)


def arguments(graph):
    return [(call.name, call.args, dict(call.kwargs)) for call in graph.calls]


# @step


def test_step_without_options():
    assert type(numbers) is Step
    assert numbers.fn(2) == [0, 1]


@pytest.mark.parametrize("retry", [RetryConfig(retries=3, delay=0), {"retries": 3, "delay": 0}])
def test_step_with_options(retry):
    @step(
        retry=retry,
        job_type="batch",
        vcpu=2,
        memory_mb=512,
        ephemeral_storage=1024,
        timeout_seconds=9.5,
        executor="process",
    )
    def work(item):
        return item

    assert work.retry == RetryConfig(retries=3, delay=0)
    assert (work.job_type, work.vcpu, work.memory_mb) == ("batch", 2, 512)
    assert work.ephemeral_storage == 1024
    assert (work.timeout_seconds, work.executor) == (9.5, "process")


def test_step_with_empty_brackets():
    @step()
    def work(item):
        return item

    assert type(work) is Step
    assert work.fn(1) == 1


def test_one_decorator_makes_many_steps():
    batch = step(job_type="batch")
    assert (batch(numbers.fn).job_type, batch(total.fn).job_type) == ("batch", "batch")


@pytest.mark.parametrize("make", [step, partial(step, total.fn)])
def test_step_names_its_options(make):
    known = "retry, job_type, vcpu, gpu, memory_mb, ephemeral_storage, timeout_seconds, "
    known += "executor"
    with pytest.raises(DefinitionError, match=f"@step has no option 'xyz'; it has {known}"):
        make(xyz=3)
    with pytest.raises(DefinitionError, match="no option 'job_typ'; did you mean 'job_type'"):
        make(job_typ="batch")
    with pytest.raises(DefinitionError) as caught:
        make(retries=3)
    error = "@step has no option 'retries'; write retry={\"retries\": 3}"
    assert str(caught.value) == f"{caught.value.place}: {error}"


def misspelt():
    @step(retry={"retires": 3})
    def work(item):
        return item


def test_a_wrong_option_of_a_step_names_the_line_of_its_decorator():
    with pytest.raises(DefinitionError) as caught:
        misspelt()
    error = "retry has no 'retires'; write retry={\"retries\": 3}"
    assert str(caught.value) == f"{line_of(misspelt, '@step')}: {error}"


def test_step_of_a_step():
    with pytest.raises(DefinitionError, match="@step takes a function, not <step total>"):
        step(total)


# @flow


def test_a_flow_looks_like_its_function():
    assert type(scaled_sum) is Flow
    assert (scaled_sum.__name__, scaled_sum.__doc__) == ("scaled_sum", "Scale and sum.")
    assert (scaled_sum.__module__, scaled_sum.__qualname__) == (__name__, "scaled_sum")
    assert scaled_sum.__wrapped__ is scaled_sum.fn
    assert repr(scaled_sum) == "<flow scaled-sum>"
    assert scaled_sum.parameters.names == ("limit", "factor")
    assert scaled_sum.schedule is None


@pytest.mark.parametrize("change", [setattr, lambda thing, name, _: delattr(thing, name)])
def test_flows_are_immutable(change):
    with pytest.raises(AttributeError, match="flow 'scaled-sum' is immutable; give options to @"):
        change(scaled_sum, "name", "x")
    assert scaled_sum.name == "scaled-sum"


def named(name):
    def fn():
        return numbers()

    fn.__name__ = name
    return fn


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("birds", "birds"),
        ("birds_flow", "birds-flow"),
        ("Birds2", "Birds2"),
        ("_birds_", "birds"),
        ("a" * 60, "a" * 60),
    ],
)
def test_a_flow_is_named_after_its_function(function, name):
    made = flow(named(function))
    assert made.name == made().name == name


@pytest.mark.parametrize("function", ["<lambda>", "vögel", "_1", "__", "a" * 61, "a.b"])
def test_names_that_no_place_could_hold(function):
    with pytest.raises(DefinitionError, match="at most 60 ASCII letters, digits and '_', and begi"):
        flow(named(function))


@pytest.mark.parametrize("thing", [3, "birds", numbers, partial(named)])
def test_what_is_no_function_is_no_flow(thing):
    with pytest.raises(DefinitionError, match="@flow takes a function, not "):
        flow(thing)


def test_an_async_body_is_refused():
    async def birds():
        return numbers()

    with pytest.raises(DefinitionError, match=r"flow 'birds': .* write def, not async def"):
        flow(birds)


@pytest.mark.parametrize("schedule", ["rate(1 hour)", "cron(0 9 * * ? *)"])
@pytest.mark.parametrize("timezone", [None, "Europe/Helsinki"])
def test_a_schedule(schedule, timezone):
    @flow(schedule=schedule, timezone=timezone)
    def birds():
        return numbers()

    assert (birds.schedule, birds.timezone) == (schedule, timezone)
    assert birds().shape == "numbers"


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("hourly", r"such as 'rate\(1 hour\)' or 'cron\(0 9 \* \* \? \*\)'"),
        ("cron(0 9 ? * FRI-MON *)", "write 'FRI-SAT,SUN-MON'"),
        (3_600, "schedule must be text"),
    ],
)
def test_a_bad_schedule(schedule, message):
    with pytest.raises(DefinitionError, match=f"flow 'birds': .*{message}"):
        flow(schedule=schedule)(named("birds"))


def test_a_bad_timezone():
    with pytest.raises(DefinitionError, match=r"flow 'birds': .* such as 'Europe/Helsinki'"):
        flow(schedule="rate(1 hour)", timezone="Europe/Helsnki")(named("birds"))
    with pytest.raises(DefinitionError, match=r"flow 'birds': timezone .* schedule='cron\("):
        flow(timezone="Europe/Helsinki")(named("birds"))


@pytest.mark.parametrize("overlap", [None, "skip", "queue", "allow"])
def test_an_overlap(overlap):
    assert flow(schedule="rate(1 hour)", overlap=overlap)(named("birds")).overlap == overlap


def test_a_bad_overlap():
    with pytest.raises(
        DefinitionError,
        match="flow 'birds': overlap must be 'skip', 'queue' or 'allow', not 'forbid'",
    ):
        flow(schedule="rate(1 hour)", overlap="forbid")(named("birds"))
    with pytest.raises(DefinitionError, match=r"flow 'birds': overlap .* schedule='cron\("):
        flow(overlap="skip")(named("birds"))


def test_a_target():
    assert flow(target="durable")(named("birds")).target == "durable"
    assert flow(named("birds")).target is None
    with pytest.raises(
        DefinitionError,
        match="flow 'birds': target must be 'stepfunctions' or 'durable', not 'lambda'",
    ):
        flow(target="lambda")(named("birds"))


# Tracing


def test_calling_a_flow_gives_its_graph_and_runs_nothing():
    calls = []

    @step
    def noted():
        calls.append(1)

    @flow
    def birds():
        return noted().next(total)

    graph = birds()
    assert type(graph) is FlowGraph
    assert (graph.name, graph.shape, graph.flow) == ("birds", "noted → total", birds)
    assert calls == []


def test_parameters_reach_the_body():
    assert arguments(scaled_sum(7)) == [
        ("numbers", (), {"limit": 7}),
        ("scaled", (), {}),
        ("total", (), {}),
    ]


def test_the_graph_has_every_parameter():
    assert scaled_sum(7).params == {"limit": 7, "factor": 2.0}
    assert scaled_sum(limit=7, factor=3).params == {"limit": 7, "factor": 3.0}


def test_trace_takes_a_mapping():
    assert scaled_sum.trace({"limit": 7, "factor": 3.0}) == scaled_sum(7, 3.0)


@pytest.mark.parametrize(
    "call",
    [
        partial(scaled_sum),
        partial(scaled_sum, "x"),
        partial(scaled_sum, 1, limits=2),
        partial(scaled_sum.trace, {}),
        partial(scaled_sum.trace, {"limit": "x"}),
    ],
)
def test_wrong_parameters_are_refused(call):
    with pytest.raises(ParameterError, match="limit"):
        call()


def test_a_parameter_may_have_any_name():
    @flow
    def birds(self: int):
        return numbers(limit=self)

    assert arguments(birds(self=2)) == [("numbers", (), {"limit": 2})]


def test_the_fingerprint_is_the_same_for_all_parameters():
    assert scaled_sum(1, 2.0).fingerprint == scaled_sum(9, 5.0).fingerprint


def test_a_map_may_end_a_flow():
    @flow
    def birds():
        return numbers().map(total)

    assert birds().shape == "numbers → map(total)"


def test_a_chain_made_once_may_be_in_two_flows():
    chain = numbers().map(scaled, factor=2)

    @flow
    def one():
        return chain.agg(total)

    @flow
    def other():
        return chain.next(scaled, factor=3)

    for _ in range(2):
        assert one().shape == "numbers → map(scaled) → total"
        assert other().shape == "numbers → map(scaled → scaled-2)"


def test_threads_may_trace_one_flow_at_once():
    threads = 8
    together = Barrier(threads)

    @flow
    def birds(limit: int):
        together.wait(10)
        return numbers(limit=limit).map(scaled, factor=limit).next(scaled, factor=limit).agg(total)

    with ThreadPoolExecutor(threads) as pool:
        graphs = list(pool.map(birds, range(threads)))
    for limit, graph in enumerate(graphs):
        assert graph.shape == "numbers → map(scaled → scaled-2) → total"
        assert graph.params == {"limit": limit}
        assert [call.kwargs for call in graph.calls] == [
            {"limit": limit},
            {"factor": limit},
            {"factor": limit},
            {},
        ]


def returns(value):
    @flow
    def birds():
        return value

    return birds


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, r"'birds' returned NoneType, not a chain of steps; return the chain, such as: ret"),
        (numbers, r"'birds' returned Step, not a chain of steps; call it: numbers\(\), such as"),
        ([numbers()], r"'birds' returned list, not a chain of steps; return the chain, such as"),
        (3, r"return get_items\(\)\.map\(work\)\.agg\(collect\)"),
    ],
)
def test_a_body_that_returns_no_chain(value, match):
    with pytest.raises(DefinitionError, match=match) as caught:
        returns(value)()
    assert caught.value.place == line_of(returns, "@flow")


def test_two_different_steps_of_one_name():
    with pytest.raises(DefinitionError, match="'birds' uses two different steps named 'total'"):
        returns(numbers().next(total).next(step(total.fn)))()


def line_of(function, text):
    """The place of the only line of a function that has this text in it."""
    lines, first = inspect.getsourcelines(function)
    (found,) = (number for number, line in enumerate(lines, first) if text in line)
    return f"{os.path.relpath(__file__)}:{found}"


def dropped_fork():
    values = numbers()
    values.next(total)  # lost
    return values.map(scaled, factor=2)


def dropped_inner_link():
    values = numbers().map(scaled, factor=2)
    values.next(total)  # lost
    return values.agg(total)


def dropped_last_link():
    values = numbers().next(total)
    values.next(total)  # lost
    return values


def dropped_list():
    values = numbers()
    values.map([total, total]).agg(total)  # lost
    return values.next(total)


def _extended(chain):
    chain.next(total)  # lost


def dropped_by_a_helper():
    values = numbers()
    _extended(values)
    return values.next(total)


def dropped_of_two_ends():
    values = numbers().map(scaled, factor=1)
    one = values.agg(total)
    values.agg(total)  # lost
    return one


@pytest.mark.parametrize(
    ("body", "lost", "instead"),
    [
        (dropped_fork, ".next(total)", "numbers().next(total).map(scaled)"),
        (dropped_inner_link, ".next(total)", "numbers().map(scaled).next(total).agg(total)"),
        (dropped_last_link, ".next(total)", "numbers().next(total).next(total)"),
        (dropped_list, ".map([total, total])", "numbers().map([total, total]).next(total)"),
        (dropped_by_a_helper, ".next(total)", "numbers().next(total).next(total)"),
        (dropped_of_two_ends, ".agg(total)", "numbers().map(scaled).agg(total).agg(total)"),
    ],
)
def test_a_link_whose_chain_is_dropped_is_refused(body, lost, instead):
    helper = _extended if body is dropped_by_a_helper else body
    with pytest.raises(DefinitionError) as refused:
        flow(body)()
    assert str(refused.value) == (
        f"{line_of(helper, '# lost')}: flow '{body.__name__.replace('_', '-')}': {lost} is not "
        "part of the returned chain, so it would never run; a link does not change the chain "
        f"before it but returns a new one: continue with that, as in {instead}, or leave it out"
    )


def dropped_call():
    numbers(limit=9)  # lost
    return numbers()


def dropped_in_a_constant():
    return numbers().map(scaled, factor=[numbers()])  # lost


@pytest.mark.parametrize("body", [dropped_call, dropped_in_a_constant])
def test_a_call_that_is_dropped_is_refused(body):
    told = r"numbers\(\) is not part of .*; link it to the others, or return it, or leave it out$"
    with pytest.raises(DefinitionError, match=told) as refused:
        flow(body)()
    assert refused.value.place == line_of(body, "# lost")


CHAIN = numbers().map(scaled, factor=2)


def test_a_link_to_a_chain_of_the_module_may_not_be_dropped_either():
    @flow
    def birds():
        CHAIN.next(total)
        return CHAIN.agg(total)

    with pytest.raises(DefinitionError, match=r"a new one: continue with that, or leave it out$"):
        birds()


def test_a_chain_may_be_made_by_helpers_and_from_parts_of_the_module():
    def summed(chain):
        return chain.agg(total)

    @flow
    def inner():
        return summed(CHAIN)

    @flow
    def outer():
        inner()  # a graph of its own
        return inner.fn().next(scaled, factor=3)

    assert outer().shape == "numbers → map(scaled) → total → scaled-2"
    assert inner().shape == "numbers → map(scaled) → total"


def test_a_mistake_in_a_body_is_reported_with_its_line():
    @flow
    def birds():
        values = numbers()
        return values.next(scaled, fctor=3)  # here

    @flow
    def outer():
        return birds()

    for each in (birds, outer):
        with pytest.raises(DefinitionError) as refused:
            each()
        place = line_of(birds.fn, "# here")
        assert str(refused.value).startswith(f"{place}: .next(scaled, fctor=…)")


# Methods


class Shop:
    rate = 3

    @step
    def price(self):
        return 1

    @step
    def bare(item):
        return item * 2

    @classmethod
    @step
    def classed(cls, item):
        return item

    @staticmethod
    @step
    def static(item):
        return item + 1

    @step
    @staticmethod
    async def awaited(item):
        return item + 10

    @flow
    def sold(self):
        return numbers()

    @staticmethod
    @flow
    def bought():
        return numbers()

    def rated(self, item):
        return item * self.rate

    total = total


def no_method(kind, name, lacks):
    told = f"{kind} '{name}' is a method, but nothing supplies its '{lacks}': write it as a func"
    return pytest.raises(TypeError, match=told)


@pytest.mark.parametrize(
    ("body", "name", "lacks"),
    [
        (lambda: numbers().map(Shop().price), "price", "self"),
        (lambda: numbers().map(Shop.price), "price", "self"),
        (lambda: Shop().price(), "price", "self"),
        (lambda: numbers().map(Shop().bare), "bare", "item"),
        (lambda: numbers().map(Shop.classed), "classed", "cls"),
        (lambda: numbers().map(Shop().classed), "classed", "cls"),
        (lambda: numbers().map(Shop().rated), "rated", "self"),
    ],
)
def test_a_method_is_no_step(body, name, lacks):
    body.__name__ = "sales"
    with no_method("step", name, lacks) as refused:
        flow(body)()
    assert isinstance(refused.value, DefinitionError)
    assert refused.value.place == f"{os.path.relpath(__file__)}:{body.__code__.co_firstlineno}"


def test_a_classmethod_is_no_step_where_it_is_made():
    with no_method("step", "classed", "cls"):

        class Made:
            @step
            @classmethod
            def classed(cls, item):
                return item


def test_a_method_is_no_flow():
    with no_method("flow", "sold", "self"):
        Shop().sold()
    assert Shop.bought().shape == Shop().bought().shape == "numbers"


def test_a_method_of_a_parent_is_no_step_either():
    class Kiosk(Shop):
        pass

    with no_method("step", "price", "self"):
        numbers().map(Kiosk().price)


def test_functions_in_a_class_are_steps():
    rated = step(Shop().rated)

    @flow
    def sales():
        shop = Shop()
        return (
            numbers()
            .map(shop.static)
            .next(Shop.static)
            .next(Shop.bare)
            .next(shop.awaited)
            .next(rated)
            .agg(shop.total)
        )

    assert sales.run_sync() == sum(((n + 2) * 2 + 10) * 3 for n in range(3))


# What runs share


@step
def noted(item, seen, places):
    seen.append(item)
    places["all"].append(item)
    return seen, places["all"]


def test_what_a_run_changes_in_a_default_or_constant_is_its_own():
    bound = ["bound"]

    @flow
    def birds(seen: list = [], places: dict = {"all": []}):
        seen.append("body")
        return numbers(limit=1).map(noted).next(noted, seen=bound)

    for _ in range(2):
        ((seen, _places),) = birds.run_sync()
        assert seen == ["bound", (["body", 0], [0])]
    assert bound == ["bound"]
    assert birds().params == {"seen": ["body"], "places": {"all": []}}


def test_two_runs_of_one_graph_share_no_parameter():
    @flow
    def birds(seen: list, places: dict):
        return numbers(limit=1).map(noted)

    async def both(graph):
        async with Engine() as engine:
            return [await engine.run(graph) for _ in range(2)]

    given, places = [], {"all": []}
    assert asyncio.run(both(birds(given, places))) == [[([0], [0])]] * 2
    assert (given, places) == ([], {"all": []})


# Arguments that nothing gives


def needs(chain, name):
    owner = chain.stages[-1].calls[-1].name
    return pytest.raises(
        DefinitionError,
        match=rf"flow 'birds': step '{owner}' needs '{name}': bind it in the chain "
        rf"\({owner}, {name}=…\), give it a default, or make it a parameter of the flow",
    )


@step
def first_of_two(limit, offset):
    return [limit, offset]


@step
def by_keyword(*values, key):
    return values, key


@step
def by_position(value, other, /):
    return value, other


@step
def any_others(value, *args, **kwargs):
    return value, args, kwargs


@pytest.mark.parametrize(
    ("chain", "name"),
    [
        (first_of_two(), "limit"),
        (first_of_two(1), "offset"),
        (first_of_two(offset=1), "limit"),
        (by_keyword(1, 2), "key"),
        (by_position(1), "other"),
        (numbers().next(scaled), "factor"),
        (numbers().map(scaled), "factor"),
        (numbers().map(total).next(scaled), "factor"),
        (numbers().map(total).agg(scaled), "factor"),
        (numbers().map(by_keyword), "key"),
        (numbers().map(by_position), "other"),
    ],
)
def test_an_argument_that_nothing_gives(chain, name):
    with needs(chain, name):
        returns(chain)()


def test_an_argument_that_nothing_gives_names_the_line_of_its_link():
    @flow
    def birds():
        values = numbers().map([total, scaled])  # here
        return values.agg(total)

    with pytest.raises(DefinitionError, match="step 'scaled' needs 'factor'") as caught:
        birds()
    assert caught.value.place == line_of(birds.fn, "# here")


def test_the_coroutine_of_a_run_has_the_name_of_the_flow():
    running = scaled_sum.run(3)
    assert running.__qualname__ == "scaled_sum.run"
    running.close()


@pytest.mark.parametrize(
    "chain",
    [
        first_of_two(1, 2),
        first_of_two(1, offset=2),
        by_keyword(key=1),
        by_position(1, 2),
        any_others(1),
        numbers().map(scaled, factor=1).agg(scaled, factor=2),
        numbers().next(by_keyword, key=1).next(any_others, x=1).next(total),
    ],
)
def test_arguments_that_the_chain_gives(chain):
    assert returns(chain)().stages == FlowGraph("birds", chain.stages).stages


def test_arguments_that_the_flow_gives():
    @flow
    def birds(limit: int, offset: int, key: str, factor: float = 2.0):
        return first_of_two().map(scaled).next(by_keyword).agg(scaled)

    graph = birds(1, 2, "x")
    assert graph.shape == "first_of_two → map(scaled → by_keyword) → scaled-2"


def test_a_flow_parameter_cannot_give_what_is_taken_by_position_alone():
    @flow
    def birds(other: int):
        return numbers().next(by_position)

    with needs(numbers().next(by_position), "other"):
        birds(1)
