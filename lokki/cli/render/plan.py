"""The output of `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from lokki.cli.render.tables import plain_table

if TYPE_CHECKING:
    from lokki.builder.estimate import Estimate


def show_plan(plan: Estimate) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = plain_table()
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_column("USD", justify="right")
    for row in plan.rows:
        table.add_row(row.what, row.amount, f"{row.dollars:.4f}")
    table.add_row("together", "", f"{plan.dollars:.4f}", style="bold")
    console.print(table)
    console.print(f"Prices of {plan.prices_region} on {plan.prices_date}, no free tier.")
    for each in plan.limits:
        console.print(f"Limit: {each}", markup=False)
    for note in plan.notes:
        console.print(f"Note: {note}", markup=False)
