"""Calls of a step without an engine, and the lines that are captured of them."""

from __future__ import annotations

import contextlib

from lokki import output
from lokki.call import BoundCall, call_step, running


def calling(function, run_id="run-1", attempt=1, secrets=()):
    """Call a function as the step ``work`` of a run, for item 7."""
    call = BoundCall(
        invoke=lambda _: function(),
        name="work",
        run_id=run_id,
        flow="flow",
        params={},
        is_async=False,
        lane="thread",
        timeout=None,
        exceptions=(),
        in_map=True,
        secrets=secrets,
    )
    try:
        return call_step(call, None, 7, attempt)
    finally:
        running.set(None)


@contextlib.contextmanager
def attached(run_id="run-1", echo=None):
    lines = []
    sink = lines.append
    output.attach(run_id, sink, echo)
    try:
        yield lines
    finally:
        output.detach(run_id, sink)


def texts(lines):
    return [line[6] for line in lines]
