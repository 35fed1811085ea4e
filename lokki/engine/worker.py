"""The worker process of a process lane: ``python -m lokki.engine.worker FD``.

Receives calls on the socket FD, one at a time, and answers each with ("result", pickle),
("failure", Failure), ("unstorable", why) for a result that cannot be pickled or ("unloadable", why)
for a call that cannot be unpickled, and before it ("line", …) for everything the step writes. When
the engine is gone, the worker and all that its step has started are killed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from lokki import output
from lokki.call import BoundCall, call_step, capture, end_lines, running
from lokki.errors import PayloadError
from lokki.store.codec import dumps, loads


def serve(connection: Connection) -> None:
    """Answer calls until the engine says goodbye, with None."""
    calls: dict[int, BoundCall] = {}
    threading.Thread(target=_die_with_engine, args=(connection.fileno(),), daemon=True).start()
    while (request := connection.recv()) is not None:
        number, definition, raw, index, attempt = request
        try:
            if definition is not None:
                calls[number] = loads(definition)
                run_id = calls[number].run_id
                output.attach(run_id, lambda line: connection.send(("line", line)))
            call = calls[number]
            value = loads(raw)
        except PayloadError as error:
            connection.send(("unloadable", str(error)))
            continue
        connection.send(_answer(call, value, index, attempt))
        running.set(None)


def _die_with_engine(descriptor: int) -> None:
    hang_up = select.poll()
    hang_up.register(descriptor, 0)  # no events asked for: wakes when the other end is closed
    hang_up.poll()
    os.killpg(0, signal.SIGKILL)


def _answer(call: BoundCall, value: Any, index: int, attempt: int) -> tuple[str, Any]:
    try:
        result = call_step(call, value, index, attempt)
        if call.is_async:
            import asyncio

            result = asyncio.run(result)
            end_lines()
        return "result", dumps(result)
    except PayloadError as error:
        return "unstorable", str(error)
    except BaseException as error:
        return "failure", capture(call, index, attempt, error)


if __name__ == "__main__":
    with suppress(EOFError):
        serve(Connection(int(sys.argv[1])))
