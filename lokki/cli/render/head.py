"""The head of a run: its flow, status, times and parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from lokki.cli.render.console import MOST_LINES, plain, room, short
from lokki.cli.render.status import elsewhere, status, took
from lokki.cli.render.words import waits_for
from lokki.logging import counted
from lokki.model.run import Resume, Run, Stage
from lokki.model.times import seconds

_NAMES = 9
"""Columns for the names in a run's head."""
_CHAIN_IN_MAP = re.compile(r"map\([^)]* → ")


def head_of(run: Run, console: Console) -> dict[str, list[Text]]:
    """The lines of each entry."""
    chain = f": {run.chain}" if _CHAIN_IN_MAP.search(run.chain) else ""
    entries = {
        "run": Text(run.id, style="bold"),
        "flow": Text(plain(run.flow + chain)),
        "where": Text(elsewhere(run)),
        "status": status(run).append_text(_troubles(run.stages)),
        "waits": Text(plain(waits_for(run.waits_for))),
        "started": _begun(run.created, run.started_by),
        "folder": Text(plain(run.folder or "")),
        "resumed": _resumed(run.resumes),
        "took": took(run),
        "tags": Text(", ".join(run.tags)),
        "params": _params(run, MOST_LINES * room(console)),
        "owner": _owner(run),
    }
    lines: dict[str, list[Text]] = {}
    for name, value in entries.items():
        wrapped = value.wrap(console, max(1, room(console) - _NAMES)) if value else ()
        lines[name] = [
            Text(f"{'' if number else name:{_NAMES}}", style="dim").append_text(line)
            for number, line in enumerate(wrapped)
        ]
    return lines


def _begun(at: str, by: str | None) -> Text:
    who = f" by {plain(by)}" if by else ""
    return Text(f"{datetime.fromtimestamp(seconds(at)):%Y-%m-%d %H:%M:%S}{who}")


def _resumed(resumes: Sequence[Resume]) -> Text:
    """How often a run was resumed, and when last."""
    if not resumes:
        return Text()
    last = _begun(resumes[-1].at, resumes[-1].by)
    return last if len(resumes) == 1 else Text(f"{len(resumes)} times, the last ") + last


def _troubles(stages: Sequence[Stage]) -> Text:
    """How many items failed, and how many of these failures are tolerated."""
    maps = [stage for stage in stages if stage.kind == "map"]
    failed = sum(stage.failed for stage in maps)
    tolerated = sum(stage.tolerated for stage in maps)
    text = Text().append(f", {counted(failed, 'item')} failed" if failed else "", style="red")
    if tolerated:
        items = f"{tolerated:,}" if failed else counted(tolerated, "item")
        text.append(f", {items} tolerated", style="yellow")
    return text


def _params(run: Run, most: int) -> Text:
    shown = [
        f"{name} = {short(json.dumps(value, ensure_ascii=False), most)}"
        for name, value in run.params.items()
    ]
    return Text("\n".join(shown))


def _owner(run: Run) -> Text:
    owner = run.owner
    return Text(f"process {owner.process} on {owner.host}") if owner else Text()
