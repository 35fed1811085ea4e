"""Executions of a rehearsal that ended long ago."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

from moto.stepfunctions.parser.models import stepfunctions_parser_backends


@contextmanager
def ended_days_ago(execution, days):
    """Within, an execution has ended so long ago."""
    (known,) = (
        each
        for account in stepfunctions_parser_backends.values()
        for backend in account.values()
        for machine in backend.state_machines
        for each in machine.executions
        if each.execution_arn == execution
    )
    before = known.stop_date
    known.stop_date = before - timedelta(days=days)
    yield
    known.stop_date = before
