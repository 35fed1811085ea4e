"""What `lokki serve` prints at its start: the flows, their next scheduled runs and problems.

Without a terminal, only files that cannot be imported are reported.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from time import time
from typing import Any

from rich.console import Console
from rich.text import Text

from lokki.backends.schedules import shown_schedule
from lokki.location import near
from lokki.logging import clock
from lokki.model.times import seconds
from lokki_server.service import Service

_log = logging.getLogger("lokki_server")


def greet(service: Service) -> None:
    """Print to stderr what the server serves."""
    if not sys.stderr.isatty() or service.config.logging.format == "json":
        for source, why in _problems(service):
            _log.warning("%s: %s", source, why)
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    flows = service.catalog.flows
    width = max(map(len, flows), default=0)
    for name, (file, flow) in flows.items():
        line = Text("  ").append(f"{name:<{width}}", style="bold")
        line.append(f"  {near(file.source)}", style="dim")
        if flow["schedule"] is not None:
            line.append(f"  {_next(service, name, flow['schedule'])}", style="cyan")
        console.print(line)
    if not flows:
        console.print("  no flows: define one with @flow, here or in a file that you name")
    for source, why in _problems(service):
        console.print(Text(f"  {source}: {why}", style="red"))


def _problems(service: Service) -> Iterator[tuple[str, str]]:
    """The files whose flows are not offered and why, a line each."""
    for each in service.catalog.problems:
        trace = each.traceback.strip().splitlines()
        yield near(each.file), trace[-1] if trace else each.error


def _next(service: Service, name: str, asked: dict[str, Any]) -> str:
    """When the next run of a flow starts; a new schedule is followed from now on."""
    now = time()
    schedule = service.clock.shown(name, asked)
    if schedule is None or not schedule.next:
        schedule = shown_schedule(asked, None, now, now)
    if schedule.error or schedule.paused:
        return schedule.error or "paused"
    return f"next {clock(seconds(schedule.next[0]))}" if schedule.next else "never again"
