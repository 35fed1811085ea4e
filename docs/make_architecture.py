"""Draw docs/architecture.svg: the rooms of the code, and which of them imports which.

uv run python docs/make_architecture.py

A room is a package or a module right below ``lokki``, or the whole of ``lokki_server``. The layers
are those of the contract "Imports point down" in pyproject.toml, the arrows are the imports that
grimp finds (but for those for type checkers alone, as in the contract). An arrow that a longer way
of arrows implies is left out.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import TypeAlias

import grimp

PICTURE = Path(__file__).with_name("architecture.svg")
_ROOT = PICTURE.parents[1]
_SERVER = "lokki_server"
_ABOVE_SERVER = "cli"
"""The layer below which the service is: `lokki serve` imports it, and it imports no command."""

_KINDS = {
    "Commands and service": ("#1d4ed8", "__init__ __main__ cli testing client lokki_server"),
    "AWS": ("#b45309", "aws builder rehearse runtime"),
    "Running here": (
        "#0f766e",
        "backends engine output call context forks map_source loading flow_files description",
    ),
    "What is stored": ("#15803d", "store config model logging"),
    "What a flow is": (
        "#7e22ce",
        "decorators graph ways params chain stages defaults standin steps retry schedule secret"
        " tracing",
    ),
}
_OTHER = ("Small tools", "#475569")

_ROW, _BOX, _GAP, _MARGIN = 56, 30, 22, 28
_LETTER = 7.8
"""Pixels that a letter of a room's name takes."""
_SWEEPS = 400

Imports: TypeAlias = Mapping[str, set[str]]
Arrow: TypeAlias = tuple[str, str]
Node: TypeAlias = str | tuple[Arrow, int]
"""A room, or where a long arrow passes a layer: the arrow and the layer's number."""


# ---- what there is -------------------------------------------------------------------------------


def layers() -> list[list[str]]:
    """The rooms in layers, the highest first."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    down = next(each for each in contracts if each["name"] == "Imports point down")
    found = [layer.split(" | ") for layer in down["layers"]]
    found[0].append("__init__")
    above = next(number for number, layer in enumerate(found) if _ABOVE_SERVER in layer)
    return [*found[: above + 1], [_SERVER], *found[above + 1 :]]


def imports() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    graph = grimp.build_graph("lokki", _SERVER, exclude_type_checking_imports=True, cache_dir=None)
    found = defaultdict[str, set[str]](set)
    for module in graph.modules:
        room = _room(module)
        rooms = map(_room, graph.find_modules_directly_imported_by(module))
        found[room].update(other for other in rooms if other != room)
    return dict(found)


def _room(module: str) -> str:
    package, _, below = module.partition(".")
    return _SERVER if package == _SERVER else below.partition(".")[0] or "__init__"


def arrows_up(rooms: Sequence[Sequence[str]], found: Imports) -> list[Arrow]:
    """The imports that do not go to a lower layer."""
    depth = {room: number for number, layer in enumerate(rooms) for room in layer}
    every = ((room, other) for room, others in found.items() for other in sorted(others))
    return [(room, other) for room, other in every if depth[room] >= depth[other]]


def reduced(found: Imports) -> list[Arrow]:
    """The imports that no longer way of imports implies. Raises CycleError for a circle."""
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(found).static_order():
        others = found.get(room, set())
        below[room] = others.union(*(below[other] for other in others))
    return sorted(
        (room, other)
        for room, others in found.items()
        for other in others
        if not any(other in below[between] for between in others)
    )


# ---- where it is drawn ---------------------------------------------------------------------------


class _Layout:
    """Places of rooms and arrows: as few crossings and bends as some sweeps find."""

    def __init__(self, rooms: Sequence[Sequence[str]], arrows: Iterable[Arrow]) -> None:
        depth = {room: number for number, layer in enumerate(rooms) for room in layer}
        self.rows: list[list[Node]] = [list(layer) for layer in rooms]
        self.ways: dict[Arrow, list[Node]] = {}
        self._next: dict[bool, dict[Node, list[Node]]] = {
            True: defaultdict(list),  # down
            False: defaultdict(list),
        }
        for arrow in arrows:
            start, end = arrow
            passed: list[Node] = [(arrow, row) for row in range(depth[start] + 1, depth[end])]
            for node in passed:
                self.rows[node[1]].append(node)  # type: ignore[arg-type]
            self.ways[arrow] = [start, *passed, end]
            for upper, lower in pairwise(self.ways[arrow]):
                self._next[True][upper].append(lower)
                self._next[False][lower].append(upper)
        self._order()
        self.x = self._placed()

    def _order(self) -> None:
        best, fewest = [*self.rows], self._crossings()
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            for row in range(len(self.rows)) if down else reversed(range(len(self.rows))):
                place = {node: at for layer in self.rows for at, node in enumerate(layer)}
                self.rows[row] = sorted(
                    self.rows[row],
                    key=lambda node: _mean(
                        [place[near] for near in self._next[not down][node]], place[node]
                    ),
                )
            if (count := self._crossings()) < fewest:
                best, fewest = [*self.rows], count
        self.rows = best

    def _crossings(self) -> int:
        count = 0
        for upper, lower in pairwise(self.rows):
            at = {node: place for place, node in enumerate(lower)}
            ends = [at[end] for node in upper for end in sorted(self._next[True][node], key=at.get)]
            count += sum(
                later < earlier for place, earlier in enumerate(ends) for later in ends[place + 1 :]
            )
        return count

    def _placed(self) -> dict[Node, float]:
        x = {node: 0.0 for row in self.rows for node in row}
        for row in self.rows:
            x.update(_apart(row, [place * 60.0 for place in range(len(row))]))
        for sweep in range(_SWEEPS):
            order = self.rows if sweep % 2 else self.rows[::-1]
            for row in order:
                wanted = []
                for node in row:
                    near = self._next[True][node] + self._next[False][node]
                    pulls = [x[each] for each in near for _ in range(_pull(node, each))]
                    wanted.append(_mean(pulls, x[node]))
                x.update(_apart(row, wanted))
        left = min(at - _width(node) / 2 for node, at in x.items())
        return {node: round(at - left + _MARGIN) for node, at in x.items()}


def _pull(node: Node, near: Node) -> int:
    """How much two neighbours want to be one above the other: long arrows are straight."""
    return 1 + 7 * (not isinstance(node, str)) * (not isinstance(near, str))


def _apart(row: Sequence[Node], wanted: Sequence[float]) -> dict[Node, float]:
    """Places as near as can be to those that are wanted, with room for each node, in this order."""
    starts = [0.0]
    for left, right in pairwise(row):
        starts.append(starts[-1] + (_width(left) + _width(right)) / 2 + _GAP)
    blocks: list[list[float]] = []
    for want, start in zip(wanted, starts, strict=True):
        blocks.append([want - start])
        while len(blocks) > 1 and _mean(blocks[-2], 0) > _mean(blocks[-1], 0):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = [_mean(block, 0) for block in blocks for _ in block]
    return {node: at + start for node, at, start in zip(row, places, starts, strict=True)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return fsum(values) / len(values) if values else otherwise


def _label(room: str) -> str:
    if room in (_SERVER, "__init__", "__main__"):
        return {_SERVER: "lokki_server/"}.get(room, f"{room}.py")
    return f"{room}/" if (_ROOT / "lokki" / room).is_dir() else f"{room}.py"


def _width(node: Node) -> float:
    return len(_label(node)) * _LETTER + 20 if isinstance(node, str) else 4


# ---- the picture ---------------------------------------------------------------------------------


def picture() -> str:
    """The whole SVG."""
    rooms = layers()
    layout = _Layout(rooms, reduced(imports()))
    width = round(max(at + _width(node) / 2 for node, at in layout.x.items()) + _MARGIN)
    height = len(rooms) * _ROW + 2 * _MARGIN + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" font-family="ui-monospace, Menlo, Consolas,'
        ' DejaVu Sans Mono, monospace" font-size="13">',
        "<title>Which part of lokki imports which; arrows point down</title>",
        f'<rect width="{width}" height="{height}" rx="12" fill="#ffffff"/>',
        *(_band(row, width) for row in range(0, len(rooms), 2)),
        *(_arrow(way, layout) for way in layout.ways.values()),
        *(_box(room, layout.x[room], row) for row, layer in enumerate(rooms) for room in layer),
        *_legend(height),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _band(row: int, width: int) -> str:
    return f'<rect y="{_MARGIN + row * _ROW}" width="{width}" height="{_ROW}" fill="#f8fafc"/>'


def _top(row: int) -> int:
    return _MARGIN + row * _ROW + (_ROW - _BOX) // 2


def _box(room: str, x: float, row: int) -> str:
    width, colour, label = round(_width(room)), _colour(room), _label(room)
    package = label.endswith("/")
    style = f'fill="{colour}"' if package else f'fill="#ffffff" stroke="{colour}"'
    text = "#ffffff" if package else colour
    return (
        f'<rect x="{x - width / 2:g}" y="{_top(row)}" width="{width}" height="{_BOX}" rx="6"'
        f' {style} stroke-width="1.5"/>'
        f'<text x="{x:g}" y="{_top(row) + 20}" text-anchor="middle" fill="{text}"'
        f' font-weight="{600 if package else 400}">{escape(label)}</text>'
    )


def _arrow(way: Sequence[Node], layout: _Layout) -> str:
    start = str(way[0])
    row = next(number for number, layer in enumerate(layout.rows) if start in layer)
    path = [f"M{layout.x[start]:g} {_top(row) + _BOX}"]
    for node in way[1:]:
        before, x, y = layout.x[way[way.index(node) - 1]], layout.x[node], _top(row + 1)
        end = y - 6 if node is way[-1] else y
        middle = (_top(row) + _BOX + y) // 2
        path.append(f"C{before:g} {middle} {x:g} {middle} {x:g} {end}")
        row += 1
        if node is not way[-1]:
            path.append(f"V{y + _BOX}")
    x, colour = layout.x[way[-1]], _colour(start)
    tip = f"M{x:g} {_top(row)}l-4 -8h8z"
    return (
        f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-opacity=".55"'
        f' stroke-width="1.4"/><path d="{tip}" fill="{colour}"/>'
    )


def _colour(room: str) -> str:
    return next((colour for colour, rooms in _KINDS.values() if room in rooms.split()), _OTHER[1])


def _legend(height: int) -> Iterable[str]:
    x, y = _MARGIN, height - _MARGIN - 6
    for kind, colour in [*((kind, colour) for kind, (colour, _) in _KINDS.items()), _OTHER]:
        yield f'<rect x="{x}" y="{y}" width="14" height="14" rx="3" fill="{colour}"/>'
        yield f'<text x="{x + 20}" y="{y + 12}" fill="#334155">{kind}</text>'
        x += round(len(kind) * _LETTER) + 48


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
