"""The worker process of a process lane, which `spawning.py` starts: ``python -c … PATH… FD``.

Receives calls on the socket FD, one at a time, and answers each, by its number, with
("result", number, pickle), ("failure", number, Failure), ("unloadable", number, why) for a call
that cannot be unpickled, ("unimportable", number, (type, reason, traceback)) for an error of
importing the program, or ("stale", number, None) if another process must make the call: code that
an earlier run imported here has changed. A call that is new or has a timeout is also answered with
("ready", number, None) as soon as it is unpickled. Any thread may send ("line", run id, …) at any
time, for what the step writes, and ("echo", run id, text) to have it shown. When the engine is
gone, the worker and everything that its step has started are killed.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
from collections import deque
from contextlib import closing, suppress
from functools import partial
from typing import Any, TextIO, cast

from lokki import output
from lokki.call import BoundCall, await_step, call_step, capture, unstorable
from lokki.context import fresh_contexts
from lokki.engine.by_name import loads_call
from lokki.engine.channel import Channel
from lokki.engine.code import Code
from lokki.engine.importing import ImportFailed, prepare, set_idle
from lokki.engine.program import Program
from lokki.errors import PayloadError, described
from lokki.secret import in_environment
from lokki.store.codec import loads
from lokki.store.readback import written


class _Link:
    """Sends messages of all threads of this process; a process that a step forks has none."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.RLock()
        self._sending = False
        self._later: deque[bytes] = deque()
        os.register_at_fork(after_in_child=channel.close)

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


class _Calls:
    """The calls that this process knows: those of one run."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._run_id: str | None = None
        self._calls: dict[int, BoundCall] = {}
        self._fresh = fresh_contexts()
        self._code = Code()

    def learn(self, key: int, run_id: str, program: Program, definition: bytes) -> None:
        if run_id != self._run_id:
            if self._run_id is not None and self._code.changed():
                raise _Stale
            self._calls.clear()
            if self._run_id is not None:
                output.detach(self._run_id)
            sink = partial(self._link.send, "line", run_id)
            output.attach(run_id, sink, cast(TextIO, _Echo(self._link, run_id)))
            self._run_id = run_id
            prepare(program)
        call = self._calls[key] = loads_call(definition)
        output.mask(call.secrets)
        _seed_apart()
        self._fresh = fresh_contexts()  # has what the modules of the call have set

    def serve(self, request: Any) -> None:
        number, key, news, raw, index, attempt = request
        try:
            if news is not None:
                self.learn(key, *news)
            call, context = self._calls[key], self._fresh()
            value = context.run(loads, raw)
        except _Stale:
            self._link.send("stale", number, None)
            return
        except ImportFailed as error:
            report = error.kind, error.reason, error.traceback
            self._link.send("unimportable", number, report)
            return
        except BaseException as error:  # also from the values' own code
            why = str(error) if isinstance(error, PayloadError) else described(error)
            self._link.send("unloadable", number, why)
            return
        if news is not None or call.timeout is not None:
            self._link.send("ready", number, None)
        set_idle(False)
        kind, content = context.run(_answer, call, value, index, attempt)
        set_idle(True)
        self._link.send(kind, number, content)


def serve(channel: Channel) -> None:
    """Answer calls until the engine says goodbye, with None."""
    output.mask(in_environment())
    calls = _Calls(_Link(channel))
    set_idle(True)
    threading.Thread(target=_die_with_engine, args=(channel.fileno(),), daemon=True).start()
    while (request := channel.receive()) is not None:
        calls.serve(request)
        del request  # it may be large, and the next one may take long


def _die_with_engine(descriptor: int) -> None:
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # no events asked for: wakes when the other end is closed
    hang_up.poll()
    os.killpg(0, signal.SIGKILL)


def _answer(call: BoundCall, value: Any, index: int, attempt: int) -> tuple[str, Any]:
    try:
        if call.is_async:
            import asyncio

            result = asyncio.run(await_step(call, value, index, attempt))
        else:
            result = call_step(call, value, index, attempt)
        return "result", _pickled(call, result)
    except BaseException as error:
        return "failure", capture(call, index, attempt, error)


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


def main() -> None:
    """Serve on the socket that the command line names."""
    with closing(Channel(int(sys.argv[-1]))) as channel, suppress(EOFError, ConnectionError):
        serve(channel)
