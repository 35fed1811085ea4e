"""Two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from rich.text import Text

from lokki.cli.render.console import plain, room, short, stdout_console
from lokki.cli.render.status import status, took
from lokki.cli.render.tables import Column, table
from lokki.durations import duration
from lokki.logging import counted
from lokki.model.comparison import Comparison, Difference, FailurePair, StagePair
from lokki.model.run import Run, Stage
from lokki.store.groups import folded

_LONGEST = 44
_NONE = Text("-", style="dim")

Row = tuple[Text, Text, Text]


def show_comparison(found: Comparison) -> None:
    """Print what differs between two runs, side by side."""
    console = stdout_console()
    rows = [
        *_heads(found.first, found.second),
        *_under("", map(_difference, found.facts)),
        *_under("parameters", map(_difference, found.params)),
        *_under("stages", map(_stage, found.stages)),
        *_under("failures", map(_failure, found.failures)),
        *_result(found),
    ]
    names, ones, others = zip(*rows, strict=True)
    columns = [
        Column("", names, least=20),
        Column(found.first.id, ones, least=len(found.first.id)),
        Column(found.second.id, others, least=len(found.second.id)),
    ]
    console.print(table(columns, room(console)))
    for line in _same(found):
        console.print(Text(line, style="dim"))


def _under(title: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Rows below a title, if there are any."""
    for number, (name, one, other) in enumerate(rows):
        if title and number == 0:
            yield Text(title, style="bold"), Text(), Text()
        yield Text("  " if title else "") + name, one, other


def _heads(first: Run, second: Run) -> Iterator[Row]:
    yield Text("status"), status(first), status(second)
    yield Text("took"), took(first), took(second)


def _difference(each: Difference) -> Row:
    return Text(plain(each.name)), _value(each.first), _value(each.second)


def _value(value: Any) -> Text:
    if value is None:
        return _NONE
    return Text(
        short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST)
    )


def _stage(pair: StagePair) -> Row:
    return Text(plain(pair.name)), _counts(pair.first), _counts(pair.second)


def _counts(stage: Stage | None) -> Text:
    if stage is None:
        return _NONE
    text = Text(duration(stage.duration))
    if stage.kind == "map":
        text.append(f", {stage.done:,} of {stage.total:,}")
    for count, word, style in (
        (stage.failed, "failed", "red"),
        (stage.tolerated, "tolerated", "yellow"),
    ):
        if count:
            text.append(f", {count:,} {word}", style=style)
    return text


def _failure(pair: FailurePair) -> Row:
    message = short(folded(pair.message), _LONGEST)
    name = Text(f"{pair.id} {pair.type}: {message}", style="red")
    return name, _times(pair.first), _times(pair.second)


def _times(count: int) -> Text:
    return Text(f"{count:,}") if count else _NONE


def _result(found: Comparison) -> Iterator[Row]:
    if found.results is not None and not found.not_compared:
        yield Text("result"), _shown(found.results.first), _shown(found.results.second)


def _shown(result: dict[str, Any] | None) -> Text:
    if result is None:
        return _NONE
    if "json" in result:
        return Text(short(json.dumps(result["json"], ensure_ascii=False), _LONGEST))
    size = f", {result['bytes']:,} bytes" if "bytes" in result else ""
    return Text(f"{result['type']}{size}")


def _same(found: Comparison) -> Iterator[str]:
    if found.same_params:
        names = ", ".join(map(plain, found.same_params))
        yield f"the same in {counted(len(found.same_params), 'parameter')}: {names}"
    if found.same_result:
        yield "the same result"
    if found.results is not None and found.not_compared:
        first, second = _shown(found.results.first), _shown(found.results.second)
        yield f"results are not compared: {first}; {second}"
