"""Finding the run that is to be resumed, and the folder that it was started in."""

from __future__ import annotations

import os
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any

from lokki import logging
from lokki.cli.options import config_from, tell
from lokki.cli.program import Program
from lokki.config import Config, anchored, journal_path

if TYPE_CHECKING:
    from lokki.store.history import Run


def to_resume(name: str, program: Program, options: dict[str, Any]) -> tuple[Run, Config]:
    """The run to resume, and the configuration of the folder where the command was typed.

    Afterwards the process is in the run's folder. To be called before the flow's file is loaded,
    which may start other runs and read files by relative paths.
    """
    from lokki.store.history import read_history
    from lokki.store.removal import refuse_removing

    config = anchored(config_from(options))
    with read_history(journal_path(config)) as history:
        run = history.find(name, program.flow)
        refuse_removing(run)
    _enter(run.folder, config)
    return run, config


def _enter(folder: str | None, config: Config) -> None:
    """Go to the folder of a run, if it is known and another one; it is told either way."""
    here = None
    with suppress(OSError):  # it has been removed
        here = os.getcwd()
    if folder in (None, here):
        return
    level, told = "INFO", f"in {folder}, where the run was started"
    try:
        os.chdir(folder)
    except OSError as error:
        level = "WARNING"
        told = (
            f"the folder that the run was started in cannot be entered: {folder}: "
            f"{error.strerror}; it goes on in {here}"
        )
    tell(logging.run_folder(told, level, time()), config.logging)
