"""The paths that the configuration names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from lokki.config.keys import KEYS
from lokki.config.loading import DEFAULT
from lokki.config.schema import Config
from lokki.errors import JournalError


def journal_path(config: Config) -> Path:
    """The journal's file. Raises as `local_path`."""
    return local_path(config.local.journal, _setting(config, "local.journal"))


def payloads_path(journal: Path, config: Config) -> Path:
    """The directory of large payloads, by default beside the journal. Raises as `local_path`."""
    if config.local.payloads is None:
        return journal.parent / "payloads"
    return local_path(config.local.payloads, _setting(config, "local.payloads"))


def anchored(config: Config) -> Config:
    """The configuration with absolute paths, for use before a change of folder."""
    local = config.local
    payloads = local.payloads and _absolute(local.payloads)
    local = dataclasses.replace(local, journal=_absolute(local.journal), payloads=payloads)
    return dataclasses.replace(config, local=local)


def _absolute(path: str) -> str:
    return path if path.startswith(("~", "s3://")) else os.path.abspath(path)


def _setting(config: Config, name: str) -> str:
    origin = config.origins.get(name, DEFAULT)
    return origin if origin in KEYS[name].variables else f"{name} ({origin})"


def local_path(path: str | os.PathLike[str], setting: str) -> Path:
    """The path of a setting, with its ``~`` expanded.

    Raises JournalError, which names the setting, if the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise JournalError(
            f"{setting}: the home directory in '{os.fspath(path)}' is unknown; "
            "write the path without '~'"
        ) from None
