"""The flows that can be run, here or on a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from time import time
from typing import Any

import click

from lokki.cli.configuration import configured
from lokki.cli.options import HERE_OR_SERVER, JSON, SOURCES
from lokki.config import Config, journal_path
from lokki.model.flow import FileProblem, Flow, FlowList
from lokki.model.run import LOCAL

_AT_ONCE = 4
PARAMETERS: list[click.Parameter] = [SOURCES, JSON, HERE_OR_SERVER]


def offered_flows(on: str, sources: Sequence[str]) -> FlowList:
    """The flows here or on a server, and the files without any, as the API lists both."""
    if on == LOCAL:
        return _here(sources, configured())
    if sources:
        raise click.UsageError(f"leave '{sources[0]}' out: the server has its own files")
    from lokki.backends.server import ServerBackend

    return ServerBackend(on).offered()


def tell_problems(problems: Sequence[FileProblem], nothing: str) -> None:
    """Report on stderr the problems of files (then exit with 1), or that there is nothing."""
    for each in problems:
        click.echo(f"{each.traceback}Error: {each.error}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    if nothing:
        click.echo(nothing, err=True)


def described_flows(sources: Sequence[str]) -> dict[str, Any]:
    """What each file has, or what is wrong with it: its ``flows``, or an ``error``."""
    from concurrent.futures import ThreadPoolExecutor

    from lokki.flow_files import found_in

    files = found_in(sources)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(files, pool.map(_described, files), strict=True))


def _here(sources: Sequence[str], config: Config) -> FlowList:
    from contextlib import closing

    from lokki.backends.schedules import offered, shown_schedule
    from lokki.store.connection import Reader
    from lokki.store.schedules import schedule_row

    described, now = described_flows(sources), time()
    flows: list[Flow] = []
    with closing(Reader(journal_path(config), create=False)) as read:
        for file, each in described.items():
            for flow in each.get("flows", ()):
                asked = flow.pop("schedule")
                schedule = None
                if asked is not None:
                    row = schedule_row(read, flow["name"])
                    since = now if row is None else row.since
                    schedule = shown_schedule(asked, row, now, since)
                flows.append(offered(flow, file, schedule))
    problems = [
        FileProblem(file=file, **each) for file, each in described.items() if "error" in each
    ]
    return FlowList(flows=flows, problems=problems)


def _described(file: str) -> dict[str, Any]:
    """The flows of a file or its problems, found by a process of its own."""
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "lokki.cli.described", file],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if not done.stdout:
        return {"error": f"the import of {file} ended its process", "traceback": ""}
    described: dict[str, Any] = json.loads(done.stdout)
    return described
