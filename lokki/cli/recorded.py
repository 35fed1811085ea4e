"""The recorded run that a command needs: finds it, enters its folder, loads its flow."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from lokki import logging
from lokki.cli.configuration import tell
from lokki.cli.options import config_from
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.config import Config, anchored, journal_path
from lokki.decorators import Flow
from lokki.loading import LoadError, NotThere, alias_source, load_flow

if TYPE_CHECKING:
    from lokki.store.runs import RunRecord


def found_run(name: str, program: Program, options: dict[str, Any]) -> tuple[RunRecord, Config]:
    """A run, and the configuration of the folder where the command was typed.

    Afterwards the process is in the run's folder. Call this before loading the flow's file, which
    may start other runs and read files by relative paths.
    """
    from lokki.store.history import read_history
    from lokki.store.runs import refuse_removing

    config = anchored(config_from(options))
    with read_history(journal_path(config)) as history:
        run = history.find(name, program.flow)
        refuse_removing(run)
    _enter(run.folder, config)
    return run, config


def _enter(folder: str | None, config: Config) -> None:
    """Change to the folder of a run, if that is known and different, and report it."""
    here = None
    with suppress(OSError):  # it has been removed
        here = os.getcwd()
    if folder in (None, here):
        return
    level, message = "INFO", f"in {folder}, where the run was started"
    try:
        os.chdir(folder)
    except OSError as error:
        level = "WARNING"
        message = (
            f"the folder that the run was started in cannot be entered: {folder}: "
            f"{error.strerror}; it continues in {here}"
        )
    tell(logging.run_folder(message, level, time()), config.logging)


def flow_of(run: RunRecord, target: str | None, command: str) -> Flow[..., Any]:
    """The flow of a run, from its original file or, if given, from ``target``.

    ``command`` is the command to give a file to if the original is gone. Raises LoadError and
    NotThere.
    """
    try:
        with stdout_to_stderr():
            flow = load_flow(target or _source(run, command))
    except NotThere:
        raise
    except LoadError as error:
        from lokki.engine.surroundings import other_python

        hint = isinstance(error.__cause__, ImportError) and other_python(run)
        raise LoadError(f"{error}; {hint}" if hint else str(error), error.traceback) from error
    if run.source is not None:
        alias_source(run.source, flow)
    return flow


def _source(run: RunRecord, command: str) -> str:
    """The file and the flow that a run was started from. Raises NotThere."""
    hint = f"name the file of its flow: lokki {command} {run.id} FILE"
    if run.source is None:
        raise NotThere(f"run {run.id} was not started from a file; {hint}")
    file = run.source.rpartition(":")[0]
    if not Path(file).is_file():
        raise NotThere(f"the file that run {run.id} was started from ({file}) is gone; {hint}")
    return run.source
