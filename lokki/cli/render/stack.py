"""What `deploy` and `destroy` change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from lokki.cli.render.tables import plain_table

if TYPE_CHECKING:
    from lokki.aws.deploy import Doomed, Target
    from lokki.aws.stack import ChangeSet


def show_changes(change_set: ChangeSet, console: Console) -> None:
    table = plain_table()
    for name in ("change", "resource", "type"):
        table.add_column(name, overflow="fold")
    for each in change_set.changes:
        action = f"{each.action} (replaced)" if each.replaced else each.action
        table.add_row(action, each.resource, each.kind)
    console.print(f"stack {change_set.stack}:", markup=False)
    console.print(table)


def show_doomed(what: Doomed, target: Target, console: Console, *, empty: bool) -> None:
    for kind, resource in what.resources:
        console.print(f"stack {target.stack}: {kind} {resource}", markup=False)
    fate = "deleted" if empty else "kept (--empty-bucket deletes them)"
    what_happens = f"bucket {target.bucket}: {what.objects:,} objects of the flow, {fate}"
    console.print(what_happens, markup=False)
