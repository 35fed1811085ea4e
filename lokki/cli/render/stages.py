"""The stages of a run, and the items of its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from lokki.backends.backend import Backend
from lokki.cli.render.console import plain, room
from lokki.cli.render.tables import Column, count_cells, table
from lokki.durations import duration, mean, rate
from lokki.model.run import InnerStep, Run, Stage

_CELLS = {  # the most severe first; a cell shows the first that it contains
    "failed": ("✗", "x", "red", "failed"),
    "tolerated": ("!", "!", "yellow", "tolerated"),
    "cancelled": ("◌", "c", "yellow", "cancelled"),
    "retrying": ("↻", "r", "yellow", "retrying"),
    "partly": ("▒", "+", "green", "partly done"),
    "succeeded": ("█", "#", "green", "done"),
    "pending": ("·", ".", "dim", "not yet"),
}


def stages_of(stages: Sequence[Stage], console: Console) -> Text:
    rates = [
        stage.done / stage.duration if stage.kind == "map" and stage.duration else 0
        for stage in stages
    ]
    retrying = count_cells([stage.retrying for stage in stages], "yellow")
    tolerated = count_cells([stage.tolerated for stage in stages], "yellow")
    reused = count_cells([stage.reused for stage in stages], "dim")
    times = [Text(duration(stage.duration)) for stage in stages]
    columns = [
        Column("stage", [Text(plain(stage.name)) for stage in stages], least=12),
        Column("done", [Text(f"{stage.done:,}") for stage in stages], right=True),
        Column("of", [Text(f"{stage.total:,}") for stage in stages], right=True, goes=2),
        Column("failed", count_cells([each.failed for each in stages], "red"), right=True),
        Column("tolerated", tolerated, right=True, goes=1),
        Column("retrying", retrying, right=True, goes=3),
        Column("reused", reused, right=True, goes=4),
        Column("took", times, right=True, goes=5),
        Column("rate", [Text(rate(each)) for each in rates], right=True, goes=6),
    ]
    return table(columns, room(console))


def map_of(backend: Backend, run: Run, stage: Stage, console: Console) -> Text:
    """The items of a map, and its inner steps."""
    parts = (_strip(backend, run, stage, console), _inner(stage.inner, room(console)))
    return Text("\n").join(part for part in parts if part)


def _inner(steps: Sequence[InnerStep], room: int) -> Text:
    """The inner steps of a map: how many items have passed each, and how long a call takes."""
    if not steps:
        return Text()
    means = [each.mean_seconds for each in steps]
    failed = count_cells([each.failed_attempts for each in steps], "yellow")
    reused = count_cells([each.reused for each in steps], "dim")
    times = [Text("" if each is None else mean(each)) for each in means]
    columns = [
        Column("inner step", [Text(f"· {plain(each.step)}") for each in steps], least=12),
        Column("done", [Text(f"{each.succeeded:,}") for each in steps], right=True),
        Column("failed attempts", failed, right=True, goes=1),
        Column("reused", reused, right=True, goes=2),
        Column("mean", times, right=True, goes=3),
    ]
    return table(columns, room)


def _strip(backend: Backend, run: Run, stage: Stage, console: Console) -> Text:
    """The items of a map as a line of cells, and what the cells mean."""
    ascii_alone = not (console.encoding or "").lower().startswith("utf")
    cells = backend.strip(run.id, stage.position, console.width - 2)
    kinds = [_drawn(cell) for cell in cells]
    text = Text()
    for kind in kinds:
        text.append(_CELLS[kind][ascii_alone], style=_CELLS[kind][2])
    legend = [
        f"{sign[ascii_alone]} {sign[3]}"
        for kind, sign in _CELLS.items()
        if kind in kinds and set(kinds) != {"succeeded"}
    ]
    lines = [Text(plain(stage.name), style="bold"), text, Text("   ".join(legend), style="dim")]
    return Text("\n").join(line for line in lines if line) if kinds else Text()


def _drawn(cell: Mapping[str, int]) -> str:
    for status in ("failed", "tolerated", "cancelled", "retrying"):
        if cell.get(status):
            return status
    if cell.get("succeeded") and cell.get("pending"):
        return "partly"
    return "succeeded" if cell.get("succeeded") else "pending"
