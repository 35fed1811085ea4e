"""Captures the processes that a call forks: they send what they write to this process.

Each line, and each text to show where this process shows it, is a message on a socket that all
forked children share. Writers never wait long: when nobody reads any more, lines are lost, and the
child shows its texts itself.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
from contextlib import suppress
from contextvars import Context
from typing import Any, TextIO, cast

from lokki.call import Running
from lokki.errors import LokkiError
from lokki.logging import Line
from lokki.model.attachment import Shown
from lokki.output.sinks import Sink, attached, busy, captured_call, end_lines, record, show
from lokki.output.streams import leave_streams, logging_now

_WAIT_SECONDS = 1.0
"""How long a child waits for its parent to read."""
_LONGEST = 16_384
"""Most characters of a text in one message."""
_MESSAGE_BYTES = 256 * 1024


class _Sender:
    """A child's end of the socket, for what the calls of ``run_id`` write."""

    def __init__(self, connection: socket.socket, run_id: str) -> None:
        self.connection = connection
        self.run_id = run_id
        self._gone = False
        connection.settimeout(_WAIT_SECONDS)

    def send(self, kind: str, content: Any) -> bool:
        """Send a message; False if nobody reads it."""
        if not self._gone:
            try:
                self.connection.send(json.dumps((kind, self.run_id, content)).encode())
            except OSError:
                self._gone = True
        return not self._gone

    def record(self, said: Line | Shown) -> None:
        """Send a line. Raises LokkiError for what is too large for a message."""
        if isinstance(said, Shown):
            raise LokkiError(
                "lokki.show() works in the process of the step, not in one that the step has "
                "started: return the value from there, and show it in the step"
            )
        self.send("line", said)

    def write(self, text: str) -> int:
        """Have a text shown, like the parent's stream for output."""
        for begin in range(0, len(text), _LONGEST):
            part = text[begin : begin + _LONGEST]
            if not self.send("show", part) and sys.stderr is not None:
                sys.stderr.write(part)
        return len(text)

    def flush(self) -> None:
        """Everything written is sent at once, or shown by this process."""
        if self._gone and sys.stderr is not None:
            sys.stderr.flush()


class _Receiver:
    """The parent's end: reads at once, and completely before a call ends."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE_BYTES)
        self._lock = threading.RLock()
        self._started = False

    def start(self) -> None:
        """Begin to read, in a thread of no call."""
        if not self._started:
            self._started = True
            thread = threading.Thread(target=self._read, name="lokki-children", daemon=True)
            Context().run(thread.start)

    def _read(self) -> None:
        news = select.poll()
        news.register(self.ours, select.POLLIN)
        while True:
            news.poll()
            self.drain()

    def drain(self) -> None:
        """Take what has been sent so far."""
        with self._lock, suppress(BlockingIOError):
            while True:
                message = self.ours.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
                kind, run_id, content = json.loads(message)
                if kind == "line":
                    record(run_id, tuple(content))
                else:
                    show(run_id, content)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class _Children:
    """Among the parts that a call has written: those of its children."""

    stream = thread = None

    def __init__(self, receiver: _Receiver, before: Any) -> None:
        self.before = before
        self._receiver = receiver

    def end(self) -> None:
        if self.before is not None:
            self.before.end()
        self._receiver.drain()


_receiver: _Receiver | None = None
_sender: _Sender | None = None
_making = threading.Lock()


def drain() -> None:
    """Take what children have sent so far."""
    if _receiver is not None:
        _receiver.drain()


def expect_children(here: Running) -> None:
    """Before a call starts a process: ensure that its output is read before the call ends."""
    global _receiver
    if _is_sent(here):
        return
    with _making:
        if _receiver is None:
            _receiver = _Receiver()
    if not isinstance(here[3], _Children):
        here[3] = _Children(_receiver, here[3])


def begin_to_read() -> None:
    """After a call has started a process: not earlier, since threads should not be forked."""
    if _receiver is not None:
        _receiver.start()


def connection_of(here: Running) -> socket.socket:
    """The socket on which a call's children send."""
    if _sender is not None and _is_sent(here):
        return _sender.connection
    assert _receiver is not None
    return _receiver.theirs


def _is_sent(here: Running) -> bool:
    """Whether this process sends what the call writes, as a child itself."""
    return _sender is not None and _sender.run_id == here[0].run_id


def as_child(connection: socket.socket, run_id: str, *, shown: bool) -> tuple[Sink, TextIO | None]:
    """How a call's child records lines and, where the parent shows them, shows them: by sending."""
    global _sender
    _sender = _Sender(connection, run_id)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_sender, end_lines_at_exit)
    return _sender.record, cast(TextIO, _sender) if shown else None


def end_lines_at_exit(_: object = None) -> None:
    """A child of multiprocessing gives no other sign to end an unfinished line."""
    from multiprocessing.util import Finalize

    Finalize(None, end_lines, exitpriority=0)


# ---- forks ---------------------------------------------------------------------------------------


def _before() -> None:
    if (here := captured_call()) is not None:
        if sys.version_info >= (3, 15):
            # Otherwise imported with the first traceback shown: if another thread is doing that
            # now, a child that shows one waits forever.
            import _colorize  # noqa: F401
        expect_children(here)


def _in_child() -> None:
    """The sinks, their locks and what other threads were doing belong to the parent."""
    global _receiver, _making
    _making = threading.Lock()
    here = captured_call()
    shown = here is not None and attached[here[0].run_id][-1][1] is not None
    attached.clear()
    for threads in (busy, logging_now):
        threads.intersection_update({threading.get_ident()})
    if here is not None:
        leave_streams()
        here[3] = None
        connection = connection_of(here).dup()
        attached[here[0].run_id] = (as_child(connection, here[0].run_id, shown=shown),)
    if _receiver is not None:
        _receiver.close()
        _receiver = None


os.register_at_fork(before=_before, after_in_parent=begin_to_read, after_in_child=_in_child)
