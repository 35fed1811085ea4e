"""The worker process of a process lane, which `spawning.py` starts: ``python … PATH… MEMORY FD``.

Receives requests on the socket FD, one at a time: a call, or a slice of a stage's items, and ahead
of the first one perhaps a `Preparation`, which has no answer. Answers each by its number: with
("answer", number, …), the pickle of a call's result, its Failure, or a `Ran`; with ("unloadable",
number, why) if it cannot unpickle what it was sent, ("unimportable", number, (type, reason,
traceback)) for an error of importing the program, or ("stale", number, None) if another process
must do the work: code that an earlier run imported here has changed. A request with news is also
answered with ("ready", number, None) as soon as the news are unpickled. The memory MEMORY, a
`Progress`, shows where it is in a slice. During a slice it sends ("carried", number, …), the input
of an inner step that may be retried, ("put", number, …) if the engine must store a large result,
and ("find", number, …) to ask for a result to reuse; the last two are answered. Any thread may send
("line", run id, …) at any time, for what the step writes, and ("echo", run id, text) to have it
shown. When the engine is gone, the worker and everything that its step has
started are killed.
"""

from __future__ import annotations

import errno
import gc
import os
import pickle
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO, cast

from lokki import output
from lokki.call import BoundCall, await_step, call_step, capture, unstorable
from lokki.context import fresh_contexts
from lokki.engine.by_name import loads_call
from lokki.engine.channel import Channel
from lokki.engine.code import Code
from lokki.engine.importing import ImportFailed, prepare, set_idle
from lokki.engine.perform import Carried, Performed, drive
from lokki.engine.program import Program
from lokki.engine.progress import Progress
from lokki.engine.sliced import Items, Preparation, Ran, Traits
from lokki.engine.state import Claim, Work
from lokki.engine.storing import Lookup, StoreRequest
from lokki.errors import PayloadError, described
from lokki.model.failure import Failure
from lokki.secret import in_environment
from lokki.store.codec import dumps, loads
from lokki.store.readback import written
from lokki.telemetry import continued, set_up

if TYPE_CHECKING:
    from lokki.store.local import LocalStore


class _Link:
    """Sends messages of all threads of this process; a process that a step forks has none."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.RLock()
        self._sending = False
        self._later: deque[bytes] = deque()
        os.register_at_fork(after_in_child=channel.close)

    def receive(self) -> Any:
        """What the engine answers to a request of this process."""
        return self._channel.receive()

    def send(self, kind: str, of: int | str, content: Any) -> None:
        if self._channel.closed:
            return
        message = pickle.dumps((kind, of, content), pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._later.append(message)
            if self._sending:  # a finalizer or a signal handler writes during a send
                return
            self._sending = True
            try:
                while self._later:
                    self._channel.send_pickle(self._later.popleft())
            finally:
                self._sending = False


class _Echo:
    """A stream that the engine shows, since the engine may draw on the terminal."""

    def __init__(self, link: _Link, run_id: str) -> None:
        self._link = link
        self._run_id = run_id

    def write(self, text: str) -> int:
        self._link.send("echo", self._run_id, text)
        return len(text)

    def flush(self) -> None:
        """Everything written is sent at once."""


class _Stale(Exception):
    """Code that was imported here, perhaps by a step of an earlier run, has changed since."""


class _Stage:
    """A stage whose items this process runs: an `ItemWork`, and its own ``state`` and ``writer``.

    It is never halted or closed: an engine that ends a run early kills its workers.
    """

    halted = closed = False

    def __init__(self, calls: tuple[BoundCall, ...], traits: Traits, link: _Link) -> None:
        self.calls = calls
        self.stage_id = traits.stage_id
        self.listed: str | None = traits.listed
        self.retried: Sequence[bool] = traits.retried
        self.name = traits.writer
        self.plain = len(calls) == 1 and calls[0].timeout is None
        self.carried: dict[int, Carried] = {}
        self.inputs: dict[int, Any] = {}
        self.seconds_per_item = 0.0
        self.large = False
        self.payloads = traits.payloads
        self.span = traits.span
        self._link = link
        self._number = 0

    @cached_property
    def store(self) -> LocalStore | None:
        """The store of large results; None if the engine stores them."""
        if self.payloads is None:
            return None
        from pathlib import Path  # slow to import, as is asyncio

        from lokki.store.local import LocalStore

        return LocalStore(Path(self.payloads))

    @property
    def state(self) -> _Stage:
        return self

    @property
    def writer(self) -> _Stage:
        return self

    def begin(self, number: int, items: Items) -> None:
        """Begin a slice, under the number of its request."""
        self._number = number
        self.seconds_per_item, self.large = items.seconds_per_item, items.large

    def keep(self, index: int, size: int, kept: Any) -> None:
        """Not sent: the next stage reads it from the journal."""

    def carry(self, index: int, position: int, pristine: bytes | None) -> None:
        if pristine is not None:
            self._link.send("carried", self._number, (index, position, pristine))


class _Unloadable(Exception):
    """The input of the next item cannot be unpickled."""


class _Mine(deque[Work]):
    """The items of a slice that the engine has not taken back; loads the input of each."""

    def __init__(self, stage: _Stage, items: Items, progress: Progress) -> None:
        super().__init__()
        self.popleft = _begun(stage, items, progress).__next__  # type: ignore[method-assign]


def _begun(stage: _Stage, items: Items, progress: Progress) -> Iterator[Work]:
    inputs, carried = stage.inputs, stage.carried
    for _, work, value in zip(progress.items(), items.works, items.inputs, strict=False):
        index, position, _ = work
        if type(value) is tuple:
            try:
                value = loads(*value)
            except BaseException as error:  # also from the values' own code
                raise _Unloadable(_why(error)) from error
        if position:
            carried[index] = Carried(value, None, None)
        else:
            inputs[index] = value
        yield work
    raise IndexError


class _Calls:
    """The calls that this process knows: those of one run."""

    def __init__(self, link: _Link, progress: Progress) -> None:
        self._link = link
        self._progress = progress
        self._run_id: str | None = None
        self._import_failed: ImportFailed | None = None
        self._stages: dict[int, _Stage] = {}
        self._fresh = fresh_contexts()
        self._code = Code()

    def prepare(self, preparation: Preparation) -> None:
        """Import a program ahead of its run's first call, which reports an error of that."""
        try:
            self._begin(*preparation)
        except ImportFailed as error:
            self._import_failed = error

    def _begin(self, run_id: str, program: Program) -> None:
        self._stages.clear()
        if self._run_id is not None:
            output.detach(self._run_id)
        sink = partial(self._link.send, "line", run_id)
        output.attach(run_id, sink, cast(TextIO, _Echo(self._link, run_id)))
        self._run_id = run_id
        prepare(program)

    def learn(self, key: int, run_id: str, program: Program, definition: bytes) -> None:
        if run_id == self._run_id:
            if self._import_failed is not None:
                raise self._import_failed
        elif self._run_id is not None and (self._import_failed or self._code.changed()):
            raise _Stale
        else:
            self._begin(run_id, program)
        calls, traits = loads_call(definition)
        self._stages[key] = _Stage(calls, traits, self._link)
        for call in calls:
            output.mask(call.secrets)
        _seed_apart()
        self._fresh = fresh_contexts()  # has what the modules of the call have set
        if traits.span is not None:
            set_up()

    def serve(self, request: Any) -> None:
        number, key, news, content = request
        try:
            if news is not None:
                self.learn(key, *news)
            stage = self._stages[key]
            answer: Callable[[], Any]
            if isinstance(content, Items):
                answer = partial(self._run, stage, number, content)
            else:
                raw, index, attempt = content
                context = continued(stage.span, self._fresh)()
                value = context.run(loads, raw)
                call = partial(self._answer, stage, value, index, attempt)
                answer = partial(context.run, call)
        except _Stale:
            self._link.send("stale", number, None)
            return
        except ImportFailed as error:
            report = error.kind, error.reason, error.traceback
            self._link.send("unimportable", number, report)
            return
        except BaseException as error:  # also from the values' own code
            self._link.send("unloadable", number, _why(error))
            return
        if news is not None:
            self._link.send("ready", number, None)
        set_idle(False)
        found = answer()
        set_idle(True)
        self._link.send("answer", number, found)

    def _answer(self, stage: _Stage, value: Any, index: int, attempt: int) -> bytes | Failure:
        (call,) = stage.calls
        next(self._progress.items())
        try:
            return _pickled(call, self._called(stage, call, value, index, attempt))
        except BaseException as error:
            return capture(call, index, attempt, error)

    def _called(self, stage: _Stage, call: BoundCall, value: Any, index: int, attempt: int) -> Any:
        if stage.plain:
            return _made(call, value, index, attempt)
        self._progress.enter(stage.calls.index(call), monotonic())
        try:
            return _made(call, value, index, attempt)
        finally:
            self._progress.leave()

    # ---- slices ----------------------------------------------------------------------------------

    def _run(self, stage: _Stage, number: int, items: Items) -> Ran:
        stage.begin(number, items)
        done = Performed(stage, Claim(_Mine(stage, items, self._progress)))
        done.keys = items.keys
        why, began = None, monotonic()
        try:
            fresh = continued(stage.span, self._fresh)
            called = _made if stage.plain else partial(self._called, stage)
            drive(done, fresh, called, partial(self._ask, stage, number))
        except _Unloadable as error:
            why = str(error)
        seconds = monotonic() - began
        done.close()
        carried = _carried(stage, done)
        stage.carried.clear()
        stage.inputs.clear()
        return Ran(done.singles, done.failed, done.rows, carried, stage.large, why, seconds)

    def _ask(self, stage: _Stage, number: int, request: StoreRequest) -> Any:
        store = stage.store
        if isinstance(request, Lookup):
            self._link.send("find", number, (request.key, request.seconds))
        elif store is None:
            chunks = [bytes(each) for each in request.chunks]
            self._link.send("put", number, (request.key, chunks))
        else:
            data, ref = request.packed()
            store.write(request.key, data)
            return ref
        found = self._link.receive()
        if isinstance(found, Exception):
            raise found
        return found


def serve(channel: Channel, progress: Progress) -> None:
    """Answer requests until the engine says goodbye, with None."""
    output.mask(in_environment())
    calls = _Calls(_Link(channel), progress)
    set_idle(True)
    threading.Thread(target=_die_with_engine, args=(channel.fileno(),), daemon=True).start()
    while (request := channel.receive()) is not None:
        if isinstance(request, Preparation):
            calls.prepare(request)
        else:
            calls.serve(request)
        del request  # it may be large, and the next one may take long


def _die_with_engine(descriptor: int) -> None:
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # no events asked for: wakes when the other end is closed
    hang_up.poll()
    os.killpg(0, signal.SIGKILL)


def _carried(
    stage: _Stage, done: Performed[_Stage]
) -> dict[int, tuple[bytes, bytes | None, str | None]]:
    """The input of the inner step to retry, if any; see `Ran`."""
    if not done.failed:
        return {}
    failed = done.failed[-1].failed
    kept = stage.carried.get(failed.index)
    if kept is None or not (failed.position and (failed.retryable or failed.later)):
        return {}
    try:
        return {failed.index: (dumps(kept.value), kept.packed, kept.ref)}
    except PayloadError as error:
        done.fail_before(error)
        return {}


def _made(call: BoundCall, value: Any, index: int, attempt: int) -> Any:
    if not call.is_async:
        return call_step(call, value, index, attempt)
    import asyncio

    return asyncio.run(await_step(call, value, index, attempt))


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, PayloadError) else described(error)


def _pickled(call: BoundCall, result: Any) -> bytes:
    try:
        raw, _ = written(result)
    except PayloadError as error:
        raise unstorable(call, error) from error.__cause__
    return cast(bytes, raw)


def _seed_apart() -> None:
    """Seed this worker's random numbers differently from other workers', even after an import."""
    for name in ("random", "numpy.random"):
        module: Any = sys.modules.get(name)
        if module is not None:
            module.seed()


def main(memory: int, connection: int) -> None:
    """Serve on a socket; ``memory`` is that of the progress."""
    gc.enable()  # the imports that precede this are quicker without
    progress = Progress(memory)
    os.close(memory)
    try:
        with closing(Channel(connection)) as channel, suppress(EOFError, ConnectionError):
            serve(channel, progress)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        from lokki.engine.witness import CLOSED  # here alone

        with suppress(OSError):
            os.write(2, f"Error: in a worker process, {CLOSED}\n".encode())
        os._exit(1)
