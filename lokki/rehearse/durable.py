"""A rehearsed run of a durable function."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from lokki.aws.durable_functions import events
from lokki.aws.durable_history import Operation, named_error, operations
from lokki.graph import FlowGraph
from lokki.model.failure import Failure
from lokki.rehearse.outcome import Progress, Rehearsed, StateRow, lines_of
from lokki.runtime.event import execution_input
from lokki.runtime.payloads import MapFailed, Payloads
from lokki.stages import MapStage

_POLL_INTERVAL = 0.1


async def execute(
    functions: Any,
    logs: Any,
    arn: str,
    graph: FlowGraph[Any],
    run_id: str,
    params: Mapping[str, Any],
    payloads: Payloads,
    report: Progress,
) -> Rehearsed:
    """Start an execution by the alias ``arn``, and wait for its end."""
    started = await functions.invoke(
        FunctionName=arn,
        InvocationType="Event",
        DurableExecutionName=run_id,
        Payload=execution_input(params, durable=True).encode(),
    )
    execution = started["DurableExecutionArn"]
    report("executing")
    described = await _ended(functions, execution)
    status, result, error, cause = described["Status"], None, None, None
    if status == "SUCCEEDED":
        value = json.loads(described["Result"])["input"]
        try:
            result = await payloads.result(graph, run_id, value)
        except MapFailed as failed:
            status, error, cause = "FAILED", "MapFailed", str(failed)
    elif "Error" in described:
        error, cause = named_error(described["Error"])
    failures: list[Failure] = []
    for call in graph.calls:
        failures += await payloads.failures(run_id, call.name)
    history = events(functions.get_durable_execution_history, execution)
    done = operations([each async for each in history])
    seconds = (described["EndTimestamp"] - described["StartTimestamp"]).total_seconds()
    flow = arn.split(":")[6]
    return Rehearsed(
        run_id,
        status,
        result,
        error,
        cause,
        tuple(failures),
        tuple(_rows(graph, done)),
        tuple(await lines_of(logs, flow)),
        seconds,
    )


async def _ended(functions: Any, execution: str) -> Any:
    """What Lambda says of an execution once it has ended."""
    while True:
        described = await functions.get_durable_execution(DurableExecutionArn=execution)
        if described["Status"] != "RUNNING":
            return described
        await anyio.sleep(_POLL_INTERVAL)


def _rows(graph: FlowGraph[Any], done: Sequence[Operation]) -> list[StateRow]:
    """The stages that have begun."""
    rows = []
    for stage in graph.stages:
        calls = {call.name for call in stage.calls}
        own = [each for each in done if each.is_call and each.step in calls]
        if not own:
            continue
        ended = [each.ended for each in own if each.ended is not None]
        seconds = None
        if len(ended) == len(own):
            seconds = (max(ended) - own[0].started).total_seconds()
        failed = sum(each.outcome not in ("Succeeded", None) for each in own)
        items: dict[str, int] = {}
        if isinstance(stage, MapStage):
            last = [each for each in own if each.step == stage.calls[-1].name]
            items = _items(last)
        kind = "Map" if isinstance(stage, MapStage) else "Task"
        rows.append(StateRow(stage.name, kind, seconds, failed, items))
    return rows


def _items(calls: Sequence[Operation]) -> dict[str, int]:
    """The items of a map by how they have ended."""
    failed: set[int] = set()
    over: set[int] = set()
    for each in calls:
        if each.outcome == "Succeeded" and each.items is not None:
            left = each.result["left"]
            failed.update(each.result["failed"])
            over.update(each.items[: len(each.items) - left])
    counts = {"succeeded": len(over - failed), "failed": len(failed)}
    return {name: count for name, count in counts.items() if count}
