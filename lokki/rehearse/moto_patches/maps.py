"""Distributed Map: each item, or batch of them, in its own execution, some at a time.

As https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html says, unlike
moto: a child knows its own input and name, whose size is limited, failures are tolerated or end the
map at once, items may come in batches, a map has only the workers that it needs, and a redriven map
runs only the children that have not succeeded, each from the state in which it failed. Express
children run again from their first state, under the same name
(https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html), and have five minutes
(https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html).
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lokki.rehearse.moto_patches.grammar import aside_in
from lokki.rehearse.moto_patches.modules import asl, moto
from lokki.rehearse.moto_patches.redrives import COUNT, begun_in
from lokki.runtime.event import MOST_BYTES

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_MAP = "component.state.exec.state_map."
_events = asl("eval.event.event_manager")
_program_state = asl("eval.program_state")
_timeouts = asl("component.common.timeouts.timeout")
_TOO_LARGE = {
    "error": "States.DataLimitExceeded",
    "cause": "The input of the execution exceeds the maximum number of bytes service limit.",
}


@dataclass
class Child:
    """An execution that a map started, with what ResultWriter and the API report of it.

    ``index`` is its index in the map, ``env`` what it runs in, and ``entered`` the state in which
    it ended, with the input of that.
    """

    index: int
    name: str
    arn: str
    machine_arn: str
    input: Any
    items: int
    started: datetime
    status: str = "RUNNING"
    stopped: datetime | None = None
    output: Any = None
    error: str | None = None
    cause: str | None = None
    env: Any = None
    entered: tuple[str, Any] | None = None
    redriven: int = 0


@dataclass
class MapRun:
    """The children of a map run, and whether it continues.

    ``before`` are the children that it continues with, by index; ``express``: what kind they are.
    """

    record: Any
    items: int
    children: list[Child]
    before: Mapping[int, Child]
    express: bool
    failed: int = 0
    over: bool = False
    running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    turns: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until fewer children run than may run at a time, which UpdateMapRun changes."""
        with self.turns:
            self.turns.wait_for(lambda: self.running < (self.record.max_concurrency or inf))
            self.running += 1
        try:
            yield
        finally:
            with self.turns:
                self.running -= 1
                self.turns.notify_all()

    def is_over_tolerance(self) -> bool:
        """Whether more items failed than the map's thresholds allow."""
        share = self.record.tolerated_failure_percentage or 0
        count = self.record.tolerated_failure_count or 0
        within = 100.0 * self.failed <= share * self.items or self.failed <= count
        return bool(self.failed) and not within


def change(platform: Platform) -> None:
    module = asl(f"{_MAP}iteration.distributed_iteration_component")
    component = module.DistributedIterationComponent
    evaluated = component._eval_body

    def evaluate(self: Any, env: Any) -> None:
        env.history = env.event_manager  # moto puts another in its place while the map runs
        evaluated(self, env)

    def run_map(self: Any, env: Any, eval_input: Any) -> None:
        enough = platform.most_workers
        if platform.concurrency is not None:  # more than the account runs
            enough = platform.concurrency + 4
        _run_map(self, env, eval_input, enough, platform.express_seconds)

    records = asl(f"{_MAP}iteration.itemprocessor.map_run_record")
    pool, updated = records.MapRunRecordPoolManager, records.MapRunRecord.update
    add_record = pool.add

    def add(self: Any, record: Any) -> None:
        if self.goes_on:
            _take_place(self, record)
        add_record(self, record)

    def update(self: Any, *given: Any, **more: Any) -> None:
        updated(self, *given, **more)
        if hasattr(self, "run"):  # otherwise its items are being read
            with self.run.turns:
                self.run.turns.notify_all()

    reader = asl(f"{_MAP}item_reader.eval.resource_eval_s3").ResourceEvalS3
    read = reader._handle_get_object

    def get_object(env: Any, *about: Any) -> None:
        try:
            read(env, *about)
        except ClientError as error:
            raise _failure(env, "StatesItemReaderFailed", str(error)) from error

    reader._handle_get_object = staticmethod(get_object)
    pool.goes_on, pool.add = False, add
    records.MapRunRecord.update = update
    component._eval_body, component._map_run = evaluate, run_map


def _run_map(self: Any, env: Any, eval_input: Any, most_workers: int, express_seconds: int) -> None:
    items = env.stack.pop()
    env.event_manager = env.history
    record = eval_input.map_run_record
    children: list[Child] = record.run.children if hasattr(record, "run") else []
    before = {child.index: child for child in children}
    aside = aside_in(self._comment.comment if self._comment else None)
    run = record.run = MapRun(record, len(items), children, before, aside.express)
    selected = [_selected(env, eval_input.item_selector, *each) for each in enumerate(items)]
    inputs = list(_batches(env, selected, aside.batcher))
    record.item_counter.total.count(len(items))
    record.execution_counter.total.count(len(inputs))
    record.item_counter.pending.count(len(items))
    record.execution_counter.pending.count(len(inputs))
    for child in run.children:
        if child.status == "SUCCEEDED":
            record.item_counter.pending.offset(-child.items)
            record.execution_counter.pending.offset(-1)
            record.item_counter.succeeded.count(child.items)
            record.execution_counter.succeeded.count(1)
    program = self._get_iteration_program()
    if run.express:
        program.timeout_seconds = _timeouts.TimeoutSeconds(express_seconds)
    outputs: dict[int, Child | None] = {}
    left = iter(enumerate(inputs))

    def work(_: int) -> None:
        while True:
            with run.turn():
                with run.lock:
                    index, given = next(left, (0, None))
                if given is None:
                    return
                outputs[index] = _run_child(env, run, program, index, given)

    with ThreadPoolExecutor(most_workers) as pool:
        list(pool.map(work, range(min(most_workers, len(inputs)))))
    if run.is_over_tolerance():
        raise _over_tolerance(env)
    done = [outputs[index] for index in sorted(outputs)]
    env.stack.append([each.output for each in done if each and each.status == "SUCCEEDED"])


def _take_place(pool: Any, record: Any) -> None:
    """Make a redriven map continue its map run: there is never a second one."""
    for each in pool.get_all():
        if each.map_state_machine_arn == record.map_state_machine_arn and hasattr(each, "run"):
            record.map_run_arn, record.start_date = each.map_run_arn, each.start_date
            record.run = each.run


def _selected(env: Any, selector: Any, index: int, value: Any) -> Any:
    """An item as its ItemSelector makes it, in the context of the map's own execution."""
    if selector is None:
        return value
    frame = env.open_inner_frame()
    try:
        frame.states.context_object.context_object_data["Map"] = {
            "Item": {"Index": index, "Value": value}
        }
        state_input = env.stack[-1] if env.stack else env.states.get_input()
        frame.states.reset(input_value=state_input)
        frame.stack.append(state_input)
        selector.eval(frame)
        return frame.stack[-1]
    finally:
        env.delete_frame(frame)


def _batches(env: Any, items: Sequence[Any], batcher: Any) -> Iterator[tuple[Any, int]]:
    """The input of each child, and its number of items."""
    if batcher is None:
        yield from ((item, 1) for item in items)
        return
    given = (
        {"BatchInput": _evaluated(env, batcher["BatchInput"])} if "BatchInput" in batcher else {}
    )
    most = batcher.get("MaxItemsPerBatch", len(items))
    for batch in _filled(items, most, batcher.get("MaxInputBytesPerBatch", MOST_BYTES)):
        yield {**given, "Items": batch}, len(batch)


def _filled(items: Sequence[Any], most: int, most_bytes: int) -> Iterator[list[Any]]:
    """Batches of ``most`` items, or fewer that are ``most_bytes`` of JSON together.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
    """
    batch: list[Any] = []
    size = 0
    for item in items:
        more = _size(item) + 1
        if batch and (len(batch) == most or size + more > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += more
    if batch:
        yield batch


def _size(value: Any) -> int:
    """The bytes of a value as JSON."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _evaluated(env: Any, template: Any) -> Any:
    """A payload template; paths may be fields of the context and of the input."""
    if isinstance(template, list):
        return [_evaluated(env, each) for each in template]
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): _path(env, value)
        if name.endswith(".$")
        else _evaluated(env, value)
        for name, value in template.items()
    }


def _path(env: Any, path: str) -> Any:
    found = (
        env.states.context_object.context_object_data
        if path.startswith("$$")
        else env.states.get_input()
    )
    for part in path.lstrip("$").strip(".").split("."):
        found = found[part]
    return found


def _run_child(
    env: Any, run: MapRun, program: Any, index: int, given: tuple[Any, int]
) -> Child | None:
    """Run a child to its end, unless it succeeded before or the map has ended."""
    with run.lock:
        child = run.before.get(index)
        if child is not None and child.status == "SUCCEEDED":
            return child
        if run.over or not env.is_running():
            return None
        if child is None:
            child = _new_child(run, index, *given)
            run.children.append(child)
        else:
            child.status, child.redriven = "RUNNING", child.redriven + 1
            child.stopped = child.error = child.cause = None
    counters = run.record.item_counter, run.record.execution_counter
    counts = child.items, 1
    for counter, count in zip(counters, counts, strict=True):
        counter.pending.offset(-count)
        counter.running.count(count)
    frame = child.env = env.open_inner_frame()
    frame.event_manager = _events.EventManager()
    context = frame.states.context_object.context_object_data
    context["Execution"] = {
        **context["Execution"],
        "Id": child.arn,
        "Name": child.name,
        "Input": child.input,
        "StartTime": child.started.isoformat(),
    }
    if run.express:
        del context["Execution"][COUNT]
        child.entered = None
    else:
        context["Execution"][COUNT] = child.redriven
    if _size(child.input) > MOST_BYTES:
        state = _program_state.ProgramError(_TOO_LARGE)
    else:
        first, state_input = child.entered or (program.start_at.start_at_name, child.input)
        frame.states.reset(state_input)
        begun_in(program, first).eval(frame)
        state = frame.program_state()
    env.delete_frame(frame)
    with run.lock:
        _end(child, state)
        if child.status in ("FAILED", "TIMED_OUT"):
            run.failed += child.items
            run.over = run.is_over_tolerance()
    for counter, count in zip(counters, counts, strict=True):
        counter.running.offset(-count)
        getattr(counter, child.status.lower()).count(count)
    return child


def _end(child: Child, state: Any, at: datetime | None = None) -> None:
    """What a child is once its program has ended so."""
    frame, child.env = child.env, None
    child.stopped = at or datetime.now(UTC)
    child.entered = getattr(frame, "entered", None) or child.entered
    if isinstance(state, _program_state.ProgramError):
        child.status = "FAILED"
        child.error, child.cause = state.error.get("error"), state.error.get("cause")
    elif frame is not None and isinstance(state, _program_state.ProgramEnded):
        child.status, child.output = "SUCCEEDED", frame.states.get_input()
    elif isinstance(state, _program_state.ProgramTimedOut):
        child.status = "TIMED_OUT"
    else:
        child.status = "ABORTED"


def aborted(record: Any, at: datetime) -> Any:
    """A map run as it is if it is stopped now: the same, if it has ended.

    The threads that run it go on with the record itself.
    """
    if record.status != "RUNNING":
        return record
    made = copy.copy(record)
    made.set_stop("ABORTED")
    made.stop_date = at
    if not hasattr(record, "run"):  # its items are being read
        return made
    with record.run.lock:
        children = [copy.copy(each) for each in record.run.children]
    for each in children:
        if each.status == "RUNNING":
            _end(each, None, at)
    made.run = MapRun(made, record.run.items, children, {}, record.run.express)
    made.item_counter = _counted(record.item_counter, children, lambda child: child.items)
    made.execution_counter = _counted(record.execution_counter, children, lambda child: 1)
    return made


def _counted(counter: Any, children: Iterable[Child], size: Callable[[Child], int]) -> Any:
    made = type(counter)()
    made.total.count(counter.total.get())
    made.pending.count(counter.total.get() - sum(map(size, children)))
    for child in children:
        getattr(made, child.status.lower()).count(size(child))
    return made


def _new_child(run: MapRun, index: int, given: Any, items: int) -> Child:
    machine = run.record.map_state_machine_arn
    name = str(uuid.uuid4())
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
    return Child(index, name, arn, machine, given, items, datetime.now(UTC))


def _over_tolerance(env: Any) -> Exception:
    name = "StatesExceedToleratedFailureThreshold"
    return _failure(env, name, "The specified tolerated failure threshold was exceeded")


def _failure(env: Any, kind: str, cause: str) -> Exception:
    """What ends a map run by an error of Step Functions."""
    errors = asl("component.common.error_name.states_error_name")
    kinds = asl("component.common.error_name.states_error_name_type")
    failures = asl("component.common.error_name.failure_event")
    details = asl("eval.event.event_detail").EventDetails
    history = moto("stepfunctions.parser.api").HistoryEventType
    name = errors.StatesErrorName(typ=kinds.StatesErrorNameType[kind])
    event = failures.FailureEvent(
        env=env,
        error_name=name,
        event_type=history.MapRunFailed,
        event_details=details(mapRunFailedEventDetails={"error": name.error_name, "cause": cause}),
    )
    error: Exception = failures.FailureEventException(event)
    return error
