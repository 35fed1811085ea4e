"""Loads the configuration, and says where each value came from.

A later source wins: the defaults, ``~/.lokki/lokki.toml``, that in ``$XDG_CONFIG_HOME/lokki``,
``./lokki.toml``, the environment, arguments. Tables are merged key by key; any other value, even a
list, is replaced as a whole.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lokki.config.folders import STATE, default_journal, xdg
from lokki.config.keys import KEYS, TABLES, shown
from lokki.config.schema import Config, kinds
from lokki.errors import ConfigError

DEFAULT = "default"


def files() -> tuple[str, ...]:
    """The configuration files, the weakest first, whether or not they exist."""
    of_user = xdg("XDG_CONFIG_HOME")
    own = (os.path.join(of_user, "lokki", "lokki.toml"),) if of_user else ()
    return ("~/.lokki/lokki.toml", *own, "./lokki.toml")


def load(given: Mapping[str, Any] | None = None) -> Config:
    """The configuration of the working directory.

    ``given`` are arguments by dotted key; None means not given. Raises ConfigError, which has a
    line for each wrong value: the source, the key, the value and what is allowed.
    """
    values: dict[str, Any] = {key.name: key.default for key in KEYS.values()}
    origins = dict.fromkeys(values, DEFAULT)
    problems: list[str] = []
    for origin, found, as_text in _sources(given or {}, problems):
        for name, value in found.items():
            try:
                checked = _checked(name, value, as_text)
            except ValueError as error:
                problems.append(f"{origin}: {error}")
                continue
            if KEYS[name].is_table:
                origins |= {f"{name}.{entry}": origin for entry in checked}
                checked = {**values[name], **checked}
            values[name], origins[name] = checked, origin
    if problems:
        raise ConfigError("\n".join(problems))
    made: Config = _made(Config, values, origins=origins)
    return made


def _sources(
    given: Mapping[str, Any], problems: list[str]
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The sources of values, the weakest first: name, values, whether these are text."""
    journal = default_journal()
    if journal != KEYS["local.journal"].default:
        yield STATE, {"local.journal": journal}, False
    for file in files():
        yield file, _file(file, problems), False
    for key in KEYS.values():
        for variable in key.variables:
            text = os.environ.get(variable)
            if text or text == key.default == "":  # otherwise an empty variable counts as unset
                yield variable, {key.name: text}, True
                break
    for name, value in given.items():
        if value is not None:
            option = KEYS[name].option if name in KEYS else None
            yield option or "argument", {name: value}, True


def _file(name: str, problems: list[str]) -> dict[str, Any]:
    """The dotted keys of a file; none if it is missing or unreadable."""
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # no file, no home directory
        return {}
    except OSError as error:
        problems.append(f"{name}: the file cannot be read: {error.strerror}")
        return {}
    except UnicodeDecodeError as error:
        problems.append(f"{name}: the file is not UTF-8 (byte {error.start}): save it as UTF-8")
        return {}
    import tomllib

    try:
        return _flat(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}: the file is not TOML: {error}")
        return {}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A file's tables as dotted keys; tables with the user's names stay tables."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + (repr(key) if "." in key else key)
        if isinstance(value, dict) and name in TABLES:
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _checked(name: str, value: Any, as_text: bool) -> Any:
    if name in KEYS:
        return KEYS[name].check(value, as_text)
    if name in TABLES:
        raise ValueError(
            f"key '{name}' must be a table, not {shown(value)}: write [{name}] and its keys below"
        )
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    """What to write for an unknown key. Its value is not shown: it may belong in a secret table."""
    import difflib

    table, _, last = name.rpartition(".")
    every = [*KEYS, *sorted(TABLES)]
    here = [each for each in every if each.rpartition(".")[0] == table]
    for known in (here, every):
        by_last = {each.rpartition(".")[2]: each for each in known}
        for near in difflib.get_close_matches(last, by_last, 1):
            return f"unknown key '{name}'; did you mean '{by_last[near]}'?"
    return f"unknown key '{name}'; known keys: {', '.join(here)}"


def _made(section: Any, values: Mapping[str, Any], prefix: str = "", **more: Any) -> Any:
    types = kinds(section)
    for each in dataclasses.fields(section):
        name = prefix + each.name.rstrip("_")
        if dataclasses.is_dataclass(types[each.name]):
            more[each.name] = _made(types[each.name], values, f"{name}.")
        elif name in values:
            more[each.name] = values[name]
    return section(**more)
