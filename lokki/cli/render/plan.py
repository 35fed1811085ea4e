"""The output of `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lokki.cli.render.console import stdout_console
from lokki.cli.render.tables import plain_table
from lokki.durations import at_least

if TYPE_CHECKING:
    from rich.console import Console

    from lokki.builder.usage import Estimate
    from lokki.builder.variants import Refused, Variant


def show_plan(plan: Estimate, variants: Sequence[Variant], refused: Sequence[Refused]) -> None:
    console = stdout_console()
    table = plain_table()
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_column("USD", justify="right")
    for row in plan.rows:
        table.add_row(row.what, row.amount, f"{row.dollars:.4f}")
    table.add_row("together", "", f"{plan.dollars:.4f}", style="bold")
    console.print(table)
    console.print(
        f"Prices of {plan.prices_region} on {plan.prices_date}, no free tier.", soft_wrap=True
    )
    estimates = [plan, *(each.estimate for each in variants)]
    if date := next((each.second_hand for each in estimates if each.second_hand), None):
        console.print(
            f"Those of durable functions on {date}, second-hand: "
            "see https://aws.amazon.com/lambda/pricing/.",
            soft_wrap=True,
        )
    if variants:
        _compare(console, plan, variants)
    for each in plan.limits:
        console.print(f"Limit: {each}", markup=False, soft_wrap=True)
    for variant in variants:
        for each in sorted({*variant.estimate.limits} - {*plan.limits}):
            console.print(f"Limit with {variant.settings}: {each}", markup=False, soft_wrap=True)
    for other in refused:
        console.print(f"Not with {other.settings}: {other.why}", markup=False, soft_wrap=True)
    for note in plan.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)


def _compare(console: Console, plan: Estimate, variants: Sequence[Variant]) -> None:
    table = plain_table()
    for name in ("charged", "USD", "at least"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    rows = [("as they are", plan), *((each.settings, each.estimate) for each in variants)]
    for settings, each in rows:
        charged = f"{each.charged:,} {each.unit}"
        table.add_row(charged, f"{each.dollars:.4f}", at_least(each.seconds), settings)
    console.print()
    console.print(table)
