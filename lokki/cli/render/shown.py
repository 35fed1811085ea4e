"""What a run's steps have shown, as a list."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from lokki.cli.program import Program
from lokki.cli.render.console import plain
from lokki.model.attachment import ENDINGS, TABLE, Attachment

MOST_SHOWN = 10


def shown_of(found: Sequence[Attachment], run_id: str, program: Program) -> Text:
    """A line for each value, and how to save them all; more than ten are not listed."""
    if not found:
        return Text()
    text = Text("shown by steps; save: ")
    text.append(program.command("show", run_id, "--save", run_id))
    for each in found[:MOST_SHOWN]:
        call = each.step if each.item is None else f"{each.step}[{each.item}]"
        text.append(f"\n  {call}  {plain(each.title or '')}")
        kind = "table" if each.type == TABLE else ENDINGS.get(each.type, each.type)
        text.append(f"  {kind}, {each.size:,} bytes", style="dim")
    if len(found) > MOST_SHOWN:
        text.append("\n  …", style="dim")
    return text
