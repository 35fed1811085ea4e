"""Shows one item of a run."""

from __future__ import annotations

import click

from lokki.backends.backend import Backend
from lokki.cli.listing import print_json
from lokki.model.run import Run, Stage


def tell_item(backend: Backend, run: Run, named: str | None, index: int, as_json: bool) -> None:
    """Print an item of a map, by default the last one that has begun. Raises ClickException."""
    stage = _stage(run, named)
    found = backend.item(run.id, stage.position, index)
    if found is None:
        there = f"its items are 0 to {stage.total - 1:,}" if stage.total else "it has no items"
        why = "has no outcome yet" if index < stage.total else f"does not exist: {there}"
        raise click.ClickException(f"item {index} of '{stage.name}' in run {run.id} {why}")
    if as_json:
        print_json(found)
        return
    from lokki.cli.render.item import show_item

    steps = run.structure[stage.position].steps
    lines = (line for line in backend.lines(run.id, item=index) if line.step in steps)
    show_item(stage, found, lines)


def _stage(run: Run, named: str | None) -> Stage:
    maps = [each for each in run.stages if each.kind == "map"]
    if named is None:
        if not maps:
            raise click.ClickException(f"no map of run {run.id} has begun, so there are no items")
        return maps[-1]
    for each in maps:
        if named in (each.name, *run.structure[each.position].steps):
            return each
    raise click.ClickException(f"{_why_not(run, named)}; {_begun(maps)}")


def _why_not(run: Run, named: str) -> str:
    """Why a stage of a run has no items to show."""
    for each in run.structure:
        if named in (each.name, *each.steps):
            if each.kind == "map":
                return f"map '{named}' of run {run.id} has not begun"
            return f"'{named}' of run {run.id} is not a map, so it has no items"
    return f"run {run.id} has no stage '{named}'"


def _begun(maps: list[Stage]) -> str:
    """What to write instead."""
    if not maps:
        return "no map has begun"
    return f"give --stage {' or '.join(each.name for each in maps)}"
