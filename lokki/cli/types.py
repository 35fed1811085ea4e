"""Types of option values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from time import time
from typing import TYPE_CHECKING, Any, cast

import click

from lokki.durations import seconds_of
from lokki.errors import DefinitionError
from lokki.model.run import LOCAL
from lokki.tags import checked_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem


_MOST = 2**62


class Number(click.ParamType[int]):
    """A whole number from ``least`` to the most that the journal can count."""

    name = "int"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"'{value}' is not a whole number.", param, ctx)
        if number < self._least:
            self.fail(f"{number} is too small: the least is {self._least}.", param, ctx)
        if number > _MOST:
            self.fail(f"{number} is too large: the most is {_MOST}.", param, ctx)
        return number


class Tag(click.ParamType[str]):
    """A tag of a run."""

    name = "tag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return checked_tag(value)
        except DefinitionError as error:
            self.fail(f"{error}.", param, ctx)


class Assignment(click.ParamType[str]):
    """``NAME=VALUE``."""

    name = "assignment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.match("[^=]+=", value):
            self.fail(f"'{value}' is not like limit=5.", param, ctx)
        return str(value)


class Choice(click.Choice[str]):
    """One of some words, in any case."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words, case_sensitive=False)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return f"'{value}' is not one of {', '.join(map(repr, self.choices))}."


class Ago(click.ParamType[float]):
    """``90s``, ``30m``, ``2h``, ``7d``, ``4w`` ago, or a local time in ISO 8601."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            if re.fullmatch(r"\d+[smhdw]", value):
                return time() - seconds_of(value)
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            self.fail(
                f"'{value}' is neither like 30m, 2h or 7d nor a time like 2026-02-03T10:30.",
                param,
                ctx,
            )


_DASK = "dask="


def cluster_of(context: click.Context | None) -> str | None:
    """The address of the Dask scheduler that ``--on`` names, if any."""
    return None if context is None else cast("str | None", context.meta.get(_DASK))


class On(click.ParamType[str]):
    """The URL of a server, or one of ``names``.

    With ``clusters``, also ``dask=ADDRESS``: here, with the workers of a Dask scheduler, whose
    address is noted in the context for `cluster_of`.
    """

    name = "backend"

    def __init__(self, *names: str, clusters: bool = False) -> None:
        self._names = names
        self._clusters = clusters

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self._clusters and ctx is not None and str(value).startswith(_DASK):
            ctx.meta[_DASK] = str(value).removeprefix(_DASK)
            return LOCAL
        if value not in self._names and not re.match("https?://[^/]", value):
            self.fail(
                f"'{value}' is neither {' nor '.join(map(repr, self._names))} nor the URL of a "
                "server, such as http://127.0.0.1:8765.",
                param,
                ctx,
            )
        return str(value).rstrip("/")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(each) for each in self._names if each.startswith(incomplete)]
