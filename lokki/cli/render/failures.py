"""The failures of a run, and how to resume it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from lokki.cli.program import Program
from lokki.cli.render.console import plain, short
from lokki.logging import counted
from lokki.model.run import FailureGroup, Run, Stage
from lokki.store.groups import folded

_MOST_GROUPS = 10


def failures_of(
    found: Sequence[tuple[FailureGroup, Stage]], run: Run, program: Program, most: int
) -> Iterator[Text]:
    """The groups of failures, each with how to run it again."""
    resumable = not run.goes_on and not run.removing
    for group, stage in found[:_MOST_GROUPS]:
        text = _group(group, stage, most, ended=run.finished is not None)
        if resumable and group.retrying < group.count:
            flags = ["--error", group.id] if group.tolerated_count else []
            text.append(f"\n        resume: {program.command('resume', run.id, *flags)}")
        yield text
    if len(found) > _MOST_GROUPS:
        yield Text(f"{len(found) - _MOST_GROUPS} more failure groups: see --json")


def _group(group: FailureGroup, stage: Stage, most: int, *, ended: bool) -> Text:
    text = Text().append(f"{group.id}  ", style="bold")
    count, items = group.count, group.items
    of = f"{counted(count, 'item')} of " if stage.kind == "map" else ""
    text.append(f"{of}{group.step}")
    waiting = "not tried again" if ended else "retrying"
    for some, word in ((group.tolerated_count, "tolerated"), (group.retrying, waiting)):
        if some:
            text.append(f", {word}" if some == count else f", {some:,} of them {word}")
    message = folded(group.message) if group.varies else group.message
    text.append(f"  {group.type}: {short(message, most)}", style="red")
    if group.place:
        where = f"{group.place.file}:{group.place.line} in {group.place.function}"
        text.append(plain(f"\n        at {where}"), style="dim")
    if stage.kind == "map":
        listed = ", ".join(map(str, items)) + (", …" if count > len(items) else "")
        text.append(f"\n        item {listed}", style="dim")
        if group.varies:
            first = f"\n        item {items[0]}: {short(group.message, most)}"
            text.append(first, style="dim")
    return text


def last_words(run: Run, groups: Sequence[FailureGroup], program: Program) -> Iterator[Text]:
    """What ended a run, if no step did, and how to resume it."""
    if run.error and run.status == "failed" and not groups:
        yield Text(plain(run.error.message), style="red")
    resume = program.command("resume", run.id)
    if run.removing:
        yield Text("it is being removed: its payloads are gone, and the next gc removes the rest")
    elif run.status == "paused" and run.goes_on:
        yield Text(f"continue: {program.command('unpause', run.id)}")
    elif run.is_lost or run.status == "paused":
        yield Text(f"its process is gone; resume: {resume}")
    elif run.status in ("failed", "cancelled") and not any(each.failed for each in groups):
        yield Text(f"resume: {resume}")
    elif run.status == "succeeded" and len(groups) > 1:
        yield Text(f"resume all that failed: {resume} --failed")
