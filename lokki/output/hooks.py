"""Functions of others that are replaced while a run is attached, and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_Function = Callable[..., Any]


class Hook:
    """``owner.name``, in whose place ``replacement`` of it stands from `put` to `take`.

    What the program itself has put there since then is left alone. ``owner`` is a module, a class
    or an object with attributes of its own.
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
