"""The items of a stage."""

from __future__ import annotations

from typing import Annotated, Any

from lokki.model.base import Example, model
from lokki.model.status import ItemStatus
from lokki.model.times import Time


@model
class ItemError:
    """The last failure of an item, in a list."""

    type: str
    message: str


@model
class Item:
    """An item with an outcome; on AWS, its times are unknown."""

    index: int
    status: ItemStatus
    attempts: int
    """all of them: of each of its steps, and before a resume"""
    started: Time | None
    finished: Time | None
    duration: float | None
    error: ItemError | None
    reused: bool = False
    """its result was taken from the cache: its last step was not called, and has no attempts"""


@model
class ItemList:
    """A page of items."""

    items: list[Item]
    next: int | None
    """the `after` of the next page"""


@model
class ItemInput:
    """The beginning of what an item got."""

    index: int
    text: Annotated[str, Example('{"station": "DE-0001"}')]
    """JSON, cut after 120 characters, or the type of what JSON cannot hold"""


@model
class ItemInputs:
    """The inputs of items of a map, as far as they can be shown."""

    inputs: list[ItemInput]


@model
class Attempt:
    """A failed attempt."""

    attempt: int
    step: str
    at: Time
    type: str
    message: str
    traceback: str


@model
class ItemDetail(Item):
    """An item with its failed attempts, its input and its output."""

    step: str
    failures: list[Attempt]
    output: dict[str, Any] | None
    """`{json: …}`, or `{type: …, bytes: …}` for values that JSON cannot hold, and for a DataFrame
    its `preview`: `columns`, the first `rows`, the `total` of rows, and what is `cut`"""
    input: dict[str, Any] | None = None
    """the same, with its own `bytes` or none; null: the flow's parameters, or not known"""


@model
class Strip:
    """A map's items in cells of neighbours, each with its number of items by status."""

    total: int
    cells: list[dict[str, int]]
