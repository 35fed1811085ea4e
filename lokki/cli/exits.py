"""Reports steps that end the process they run in, which never counts as success."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from lokki.call import Running, running
from lokki.forks import end_process


@contextmanager
def exits_reported(tell: Callable[[str], None]) -> Iterator[None]:
    """Inside this context, ``os._exit`` in a flow's code calls ``tell`` and exits with code 1.

    Nothing else could report it, and code 0 would look like success. Forked children end as they
    like.
    """
    before, process = os._exit, os.getpid()

    def exit_reported(status: int) -> NoReturn:
        if os.getpid() != process:
            end_process(status)
        here = running.get()
        who = "the flow's code" if here is None else f"step '{here[0].name}'{_item(here)}"
        try:
            tell(
                f"{who} called os._exit({status}), which ends this process before its work is "
                "done; raise an error instead, or run the code that needs it with subprocess"
            )
        finally:
            end_process(1)

    os._exit = exit_reported
    try:
        yield
    finally:
        os._exit = before


def _item(here: Running) -> str:
    return f", item {here[1]}," if here[0].in_map else ""
