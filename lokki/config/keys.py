"""The keys of the configuration: what each may be, and what sets it."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from lokki.config.schema import Config, kinds


@dataclass(frozen=True)
class Key:
    """One key of the schema: its dotted name, its default, and what sets it.

    ``kind`` is its type without None, which ``optional`` allows. ``env`` is the variable and
    ``option`` the option that sets it; few keys have an option. ``variables`` are all variables
    that set it; the first one takes precedence.
    """

    name: str
    kind: Any
    optional: bool
    default: Any
    description: str
    least: int | None
    most: int | None
    env: str
    option: str | None
    secret: bool

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.env, _env(self.name))))

    @property
    def is_table(self) -> bool:
        """Whether it is a table with the user's names, and texts that may be secret."""
        return get_origin(self.kind) is dict

    @property
    def has_numbers(self) -> bool:
        """Whether the values of such a table may be whole numbers, too."""
        return self.is_table and int in get_args(get_args(self.kind)[1])

    @property
    def is_list(self) -> bool:
        """Whether it is a list of tables."""
        return get_origin(self.kind) is list

    @property
    def metavar(self) -> str:
        """The placeholder for its value in the help of its option: ``INT``, ``human|json``."""
        return "|".join(get_args(self.kind)) or self.kind.__name__.upper()

    @property
    def allowed(self) -> str:
        """What its value must be, in words."""
        if get_origin(self.kind) is Literal:
            *others, last = get_args(self.kind)
            return f"{', '.join(others)} or {last}"
        if self.kind is int:
            most = "" if self.most is None else f" to {self.most}"
            return f"a whole number from {self.least}{most}"
        if self.is_list:
            return f"tables below [[{self.name}]]"
        return {bool: "true or false", str: "a text"}.get(
            self.kind, "a table of texts and numbers" if self.has_numbers else "a table of texts"
        )

    def check(self, value: Any, as_text: bool) -> Any:
        """The value in its type; ``as_text`` reads it from a variable's or argument's text.

        The case of a choice does not matter. Raises ValueError, which says what is allowed.
        """
        if as_text and isinstance(value, str):
            value = self._read(value)
        if get_origin(self.kind) is Literal and isinstance(value, str):
            written = {choice.lower(): choice for choice in get_args(self.kind)}
            value = written.get(value.lower(), value)
        if self.is_table:
            return self._texts(value, as_text)
        if value == "" and self.optional:
            return None
        if self.kind is str and value == "" != self.default:
            raise ValueError(f"key '{self.name}' must not be empty")
        if not self._holds(value):
            what = "something else" if self.secret else shown(value)
            raise ValueError(f"key '{self.name}' must be {self.allowed}, not {what}")
        return value

    def _read(self, text: str) -> Any:
        """The value that a text stands for, otherwise the text."""
        with suppress(ValueError, RecursionError):
            if self.kind is bool:
                return _TRUTHS.get(text.lower(), text)
            if self.kind is int:
                return int(text)
            if self.is_table or self.is_list:
                import json

                return json.loads(text)
        return text

    def _holds(self, value: Any) -> bool:
        if get_origin(self.kind) is Literal:
            return isinstance(value, str) and value in get_args(self.kind)
        if self.kind is int:
            most = value if self.most is None else self.most
            return type(value) is int and (self.least or 0) <= value <= most
        if self.is_list:
            return isinstance(value, list) and all(isinstance(each, dict) for each in value)
        return type(value) is self.kind and "\0" not in str(value)

    def _texts(self, table: Any, as_text: bool) -> Any:
        """A table of texts; errors do not show values, which may be secret."""
        kinds = (str, int) if self.has_numbers else (str,)
        if not isinstance(table, dict):
            hint = '{"NAME": "text"}' if as_text else f'[{self.name}] and below it NAME = "text"'
        elif wrong := [name for name, each in table.items() if type(each) not in kinds]:
            whole = "as a whole number, or " if self.has_numbers else ""
            hint = f"{', '.join(wrong)} {whole}in quotes"
        else:
            return table
        raise ValueError(
            f"key '{self.name}' must be {self.allowed}: write {hint} "
            "(what is there may be secret and is not shown)"
        )


_TRUTHS = {"true": True, "1": True, "yes": True, "on": True} | {
    "false": False, "0": False, "no": False, "off": False,
}  # fmt: skip


def _keys(section: Any, prefix: str = "") -> Iterator[Key]:
    types = kinds(section)
    for each in dataclasses.fields(section):
        kind, name = types[each.name], prefix + each.name.rstrip("_")
        if dataclasses.is_dataclass(kind):
            yield from _keys(kind, f"{name}.")
        elif each.metadata:
            optional = NoneType in get_args(kind)
            base = get_args(kind)[0] if optional else kind
            made = each.default_factory
            default = each.default if made is dataclasses.MISSING else made()
            metadata: dict[str, Any] = {**each.metadata, "env": each.metadata["env"] or _env(name)}
            yield Key(name, base, optional, default, **metadata)


def _env(name: str) -> str:
    return "LOKKI_" + name.replace(".", "_").upper()


KEYS: Mapping[str, Key] = {key.name: key for key in _keys(Config)}
"""The schema, by dotted name, in the order of the documentation."""

TABLES = {name.rpartition(".")[0] for name in KEYS} - {""}


def reference() -> str:
    """The schema as a table in Markdown, for the documentation."""
    lines = ["| key | type | default | set by | meaning |", "|---|---|---|---|---|"]
    for key in KEYS.values():
        default = "none" if key.default is None else f"`{_toml(key.default)}`"
        setters = f"`{key.env}`" + (f", `{key.option}`" if key.option else "")
        lines.append(
            f"| `{key.name}` | {key.allowed} | {default} | {setters} | {key.description} |"
        )
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    """A value in words, without its content, which may be a misplaced secret table."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return reprlib.repr(value)
