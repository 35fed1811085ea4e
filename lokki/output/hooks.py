"""Replaces functions of other modules while a run is attached, and restores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_Function = Callable[..., Any]


class Hook:
    """``owner.name``, replaced by ``replacement`` of it from `put` to `take`.

    What the program itself has put there meanwhile is left alone. ``owner`` is a module, a class or
    an object with its own attributes.
    """

    def __init__(
        self, owner: Any, name: str, replacement: Callable[[_Function], _Function]
    ) -> None:
        self._owner = owner
        self._name = name
        self._replacement = replacement
        self._before: _Function | None = None
        self._inherited = False
        self._ours: _Function | None = None

    def put(self) -> None:
        now = getattr(self._owner, self._name)
        if now is not self._ours:
            self._inherited = self._name not in vars(self._owner)
            self._before, self._ours = now, self._replacement(now)
            setattr(self._owner, self._name, self._ours)

    def take(self) -> None:
        if getattr(self._owner, self._name) is not self._ours:
            return
        if self._inherited:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._before)
        self._ours = self._before = None
