"""The paths that the configuration names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from lokki.config.folders import default_journal
from lokki.config.keys import KEYS
from lokki.config.loading import DEFAULT
from lokki.config.schema import Config
from lokki.errors import JournalError
from lokki.postgres_url import Place, PostgresUrl, is_postgres, place_of


def journal_path(config: Config) -> Place:
    """The journal's file or database. Raises as `local_path`."""
    return journal_place(config.local.journal, _setting(config, "local.journal"))


def journal_place(journal: str | os.PathLike[str], setting: str) -> Place:
    """The file or database that a setting names as the journal. Raises as `local_path`."""
    return place_of(journal if is_postgres(journal) else local_path(journal, setting))


def payloads_path(journal: Place, config: Config) -> Path:
    """The directory of large payloads, by default beside the journal's file.

    For a journal on a server, it is beside the default journal. Raises as `local_path`.
    """
    if config.local.payloads is None:
        file = default_journal() if isinstance(journal, PostgresUrl) else journal
        return local_path(file, _setting(config, "local.journal")).parent / "payloads"
    return local_path(config.local.payloads, _setting(config, "local.payloads"))


def anchored(config: Config) -> Config:
    """The configuration with absolute paths, for use before a change of folder."""
    local = config.local
    payloads = local.payloads and _absolute(local.payloads)
    local = dataclasses.replace(local, journal=_absolute(local.journal), payloads=payloads)
    return dataclasses.replace(config, local=local)


def _absolute(path: str) -> str:
    is_absolute = path.startswith(("~", "s3://")) or is_postgres(path)
    return path if is_absolute else os.path.abspath(path)


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
