"""The configuration of a command; its problems go to stderr."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from time import time
from typing import Any

import click

from lokki import logging
from lokki.config import Config, Logging, load, unknown_variables


def configured(given: Mapping[str, Any] | None = None) -> Config:
    """The configuration from `load`; an unknown variable is reported once."""
    config = load(given)
    _tell_unknown_variables(config.logging)
    return config


@cache
def _tell_unknown_variables(settings: Logging) -> None:
    for line in unknown_variables():
        tell(logging.variable_unknown(line, time()), settings)


def tell(record: logging.Record, settings: Logging) -> None:
    """Write a record to stderr before a run begins, formatted like its lines."""
    if logging.reaches(record.level, settings.level):
        line = logging.as_json if settings.format == "json" else logging.human
        click.echo(line(record), err=True)
