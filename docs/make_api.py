"""Write docs/api.md, the reference of everything in ``lokki.__all__``, from its docstrings.

uv run python docs/make_api.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_overloads

import lokki

PAGE = Path(__file__).with_name("api.md")
_HEAD = """\
# Reference

Everything in `lokki.__all__`, from its docstrings: made by `uv run python docs/make_api.py`.
"""
_MADE_BY_USERS = ("Engine", "Secret")
"""Classes, besides dataclasses, whose constructor is shown; the others are given out by lokki."""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(part for name in lokki.__all__ for part in _entry(name))])


def _entry(name: str) -> Iterator[str]:
    value = getattr(lokki, name)
    yield f"## {name}\n"
    if not isinstance(value, type) or is_dataclass(value) or name in _MADE_BY_USERS:
        yield _code(name, value)
    yield _text(value)
    for member, each in _members(value) if isinstance(value, type) else ():
        if isinstance(each, property | cached_property):
            read = each.func if isinstance(each, cached_property) else each.fget
            yield f"### {name}.{member}\n"
            yield f"`{inspect.signature(read).return_annotation}`\n"
            yield from filter(None, [_text(read)])
        elif _is_documented_method(member, each):
            function = each.__func__ if isinstance(each, classmethod) else each
            yield f"### {name}.{member}\n"
            yield _code(member, function)
            yield _text(function)


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class has of its own, after what it has from classes that are not in the reference."""
    for base in reversed(cls.__mro__):
        is_ours = base.__module__.partition(".")[0] == "lokki"
        if base is cls or (is_ours and base.__name__ not in lokki.__all__):
            yield from vars(base).items()


def _is_documented_method(name: str, value: Any) -> bool:
    is_public = name == "__call__" or not name.startswith("_")
    is_method = inspect.isfunction(value) or isinstance(value, classmethod)
    return bool(is_public and is_method and value.__doc__)


def _code(name: str, value: Any) -> str:
    """How it is called: of overloads the longest, without types."""
    overloads = get_overloads(value) if inspect.isfunction(value) else []
    chosen = max(reversed(overloads), key=_length, default=value)
    signature = inspect.signature(chosen)
    bare = inspect.Parameter.empty
    parameters = [
        each.replace(annotation=bare) if overloads else each
        for each in signature.parameters.values()
        if each.name not in ("self", "cls")
    ]
    returns = bare if overloads or isinstance(value, type) else signature.return_annotation
    text = name + str(signature.replace(parameters=parameters, return_annotation=returns))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    text = re.sub(r"<class '(\w+)'>", r"\1", text).replace("<factory>", "…")
    text = re.sub(r"\b(Step|Flow)Definition\b", r"\1", text)  # whose like nobody else makes
    return f"```py\n{'async ' * inspect.iscoroutinefunction(value)}{text}\n```\n"


def _length(function: Callable[..., Any]) -> int:
    return len(inspect.signature(function).parameters)


def _text(value: Any) -> str:
    """A docstring as Markdown."""
    text = inspect.cleandoc(value.__doc__ or "").replace("``", "`")
    return f"{text}\n" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
