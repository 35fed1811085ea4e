"""Every call starts in a copy of the context of whoever started the run, and leaves no trace."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import sys
import textwrap
from contextlib import contextmanager

import anyio
import pytest
import structlog
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider

import lokki
from lokki import Engine, flow, step

pytestmark = pytest.mark.asyncio

tenant = contextvars.ContextVar("tenant", default="nobody")
KINDS = ("sync", "async", "awaiting", "hop", "in time", "process")


@step
def numbers(count: int = 6):
    return list(range(count))


@step
async def passed(value):
    await anyio.sleep(0)
    return value


def mapped(kind, look, **options):
    """A map of ``look`` over numbers, one at a time, whose calls are of a kind."""

    def sync(value):
        return look()

    async def at_once(value):
        return look()

    async def awaiting(value):
        await anyio.sleep(0)
        seen = look()
        await anyio.sleep(0)
        return seen

    many = numbers()
    match kind:
        case "sync":
            return many.map(step(sync, **options), concurrency_limit=1)
        case "async":
            return many.map(step(at_once, **options), concurrency_limit=1)
        case "awaiting":
            return many.map(step(awaiting, **options), concurrency_limit=1)
        case "hop":
            return many.map(passed, concurrency_limit=1).next(step(sync, **options))
        case "in time":
            late = step(awaiting, timeout_seconds=60, **options)
            return many.map(late, concurrency_limit=1)
        case "process":
            return many.map(step(sync, executor="process", **options), concurrency_limit=1)


def flow_of(kind, look, **options):
    @flow
    def looking():
        return mapped(kind, look, **options)

    return looking


def precision() -> int:
    """The present precision of decimals; leaves another one behind."""
    was = decimal.getcontext().prec
    decimal.getcontext().prec = 3
    return was


@contextmanager
def precise(digits: int):
    with decimal.localcontext() as here:
        here.prec = digits
        yield here


@pytest.mark.parametrize("kind", KINDS)
async def test_a_decimal_context_is_new_for_each_call(kind):
    assert await flow_of(kind, precision).run() == [28] * 6


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "process"])
async def test_the_decimal_context_of_the_caller_holds_in_each_call(kind):
    with precise(50) as here:
        assert await flow_of(kind, precision).run() == [50] * 6
        assert here.prec == decimal.getcontext().prec == 50


@pytest.mark.parametrize("kind", KINDS)
async def test_a_variable_that_a_call_sets_is_gone_with_it(kind):
    def look():
        import importlib

        module = importlib.import_module("decimal")  # a variable that workers have, too
        found = module.getcontext().Emax
        module.setcontext(module.Context(Emax=found - 1))
        return found

    found = await flow_of(kind, look).run()
    assert found == [found[0]] * 6


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "process"])
async def test_the_variables_of_the_caller_are_seen_and_kept(kind):
    def look():
        seen = tenant.get(), structlog.contextvars.get_contextvars()
        tenant.set("another")
        structlog.contextvars.bind_contextvars(item=1)
        return seen

    tenant.set("acme")
    with structlog.contextvars.bound_contextvars(run="mine"):
        seen = await flow_of(kind, look).run()
        assert structlog.contextvars.get_contextvars() == {"run": "mine"}
    assert seen == [("acme", {"run": "mine"})] * 6
    assert tenant.get() == "acme"


@pytest.mark.parametrize("kind", ["sync", "awaiting"])
async def test_each_attempt_starts_afresh(kind):
    def look():
        if tenant.get() != "nobody":
            return tenant.get()
        tenant.set("the attempt before")
        if lokki.current().attempt < 3:
            raise OSError("again")
        return "fresh"

    retry = {"retries": 2, "delay": 0}
    assert await flow_of(kind, look, retry=retry).run() == ["fresh"] * 6


@step
def same(value):
    return value


@pytest.mark.parametrize("later", [passed, same], ids=["loop", "thread"])
async def test_each_inner_step_starts_afresh(later):
    @step
    def first(value):
        tenant.set("first")

    @step
    def second(value):
        return tenant.get()

    @flow
    def chained():
        return numbers().map(first).next(later).next(second)

    assert await chained.run() == ["nobody"] * 6


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "process"])
async def test_a_span_of_the_caller_is_the_parent_of_the_steps_spans(kind):
    tracer = TracerProvider().get_tracer("test")

    def look():
        context.attach(baggage.set_baggage("item", "left behind"))
        with tracer.start_as_current_span("call") as span:
            return span.parent.span_id, baggage.get_baggage("item"), baggage.get_baggage("who")

    with tracer.start_as_current_span("run") as span:
        context.attach(baggage.set_baggage("who", "me"))
        async with Engine() as engine:
            found = await engine.run(flow_of(kind, look))
        assert trace.get_current_span() is span
    mine = span.get_span_context().span_id
    assert [each[0] for each in found] == [mine] * 6
    assert {each[2] for each in found} == {"me"}


async def test_runs_of_one_engine_have_each_the_context_they_were_submitted_in():
    async def submitted(engine, name):
        tenant.set(name)
        return engine.submit(flow_of("sync", tenant.get)), engine.submit(
            flow_of("awaiting", tenant.get)
        )

    async with Engine(concurrency=2) as engine:
        handles = [
            await asyncio.create_task(submitted(engine, name)) for name in ("ann", "bob", "cy")
        ]
        found = [[await handle.result() for handle in pair] for pair in handles]
    assert found == [[[name] * 6] * 2 for name in ("ann", "bob", "cy")]


@pytest.mark.parametrize("inside", [False, True], ids=["no loop", "in a loop"])
async def test_run_sync_has_the_context_of_its_caller(inside):
    tenant.set("acme")
    looking = flow_of("sync", tenant.get)
    if inside:
        assert looking.run_sync() == ["acme"] * 6
    else:
        assert await asyncio.to_thread(looking.run_sync) == ["acme"] * 6


async def test_what_pickling_a_result_does_is_done_in_the_context_of_its_call():
    class Odd:
        def __reduce__(self):
            seen = tenant.get()
            tenant.set("pickled")
            return str, (seen,)

    def look():
        tenant.set("mine")
        return Odd()

    assert await flow_of("sync", look).run() == ["mine"] * 6


async def test_a_flow_that_a_step_runs_has_the_context_of_the_step():
    inner = flow_of("sync", tenant.get)

    @step
    async def outer():
        tenant.set("outer")
        return await inner.run()

    @flow
    def nested():
        return outer()

    assert await nested.run() == ["outer"] * 6


async def test_what_modules_of_a_worker_set_at_import_holds_in_its_calls(tmp_path, monkeypatch):
    (tmp_path / "settled.py").write_text(
        textwrap.dedent("""
        import decimal
        decimal.getcontext().prec = 11

        def look():
            was = decimal.getcontext().prec
            decimal.getcontext().prec = 3
            return was
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    with precise(28):
        import settled

        assert decimal.getcontext().prec == 11
    try:
        assert await flow_of("process", settled.look).run() == [11] * 6
    finally:
        del sys.modules["settled"]


@pytest.mark.parametrize("library", ["asyncio", "anyio"])
async def test_timeouts_and_task_groups_work_in_the_task_of_a_lane(library):
    @step
    async def busy(number):
        if library == "asyncio":
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(3600)
            except TimeoutError:
                pass
            async with asyncio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(0, number))
            return task.result()
        with anyio.move_on_after(0.001):
            await anyio.sleep(3600)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
        return number

    @flow
    def working():
        return numbers().map(busy)

    with anyio.fail_after(60):
        assert await working.run() == list(range(6))
