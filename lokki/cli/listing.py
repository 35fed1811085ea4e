"""Lists runs, for several commands."""

from __future__ import annotations

import json
from time import time
from typing import TYPE_CHECKING, Any

import click

from lokki.model.base import fields_of
from lokki.model.run_filter import RunFilter

if TYPE_CHECKING:
    from lokki.backends.backend import Backend

_MOST_FLOWS = 5


def list_runs(backend: Backend, wanted: RunFilter, as_json: bool) -> None:
    page = backend.runs(wanted)
    if as_json:
        print_json(page)
        return
    if not page.runs:
        everything = RunFilter(flow=wanted.flow, limit=wanted.limit)
        such = "runs" if wanted == everything else "such runs"
        of = f" of {wanted.flow}" if wanted.flow else ""
        click.echo(f"no {such}{of} in {backend.name}")
        return
    from lokki.cli.render.runs import show_runs

    show_runs(page.runs, time(), more=page.next is not None)


def tell_unknown(backend: Backend, flow: str) -> bool:
    """Report a flow without any runs, and which flow may be meant; whether it is one."""
    from difflib import get_close_matches

    if backend.runs(RunFilter(flow=flow, limit=1)).runs:
        return False
    known = backend.flows()
    near = get_close_matches(flow, known)
    hint = f"; flows with runs: {', '.join(known[:_MOST_FLOWS])}" if known else ""
    if near:
        hint = f"; did you mean {' or '.join(map(repr, near))}?"
    click.echo(f"no runs of flow '{flow}' in {backend.name}{hint}", err=True)
    return True


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: the fields of a model type, otherwise its text."""
    try:
        return fields_of(value)
    except TypeError:
        return str(value)
