"""The ways through a flow's body whose parameters have no values, as in a build.

The body is traced with stand-ins, once for every combination of answers to its questions about
them, since its structure must be the same for all. A run traces it with the values.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Sequence
from enum import Enum, Flag
from itertools import zip_longest
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NewType,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from lokki.errors import LokkiError, ParameterProblem
from lokki.params.examples import example_of
from lokki.secret import Secret
from lokki.standin import About, StandIn, ValueNeeded, about, is_stand_in
from lokki.steps import MAP_OPTIONS
from lokki.tracing import Link, code_in, here, place_in, place_of, users_frame
from lokki.wording import Arguments, Wording

if TYPE_CHECKING:
    from lokki.params import Parameter
    from lokki.stages import Stage

_MOST_QUESTIONS = 32
"""Most questions on one way: a loop that runs while a stand-in is true would never end."""
_MOST_WAYS = 256
_LENGTHS = (2, 1, 0, 3)
"""Lengths of what a body loops over: with more items, it only does the same again."""
_MOST_CHOICES = 64
"""Most combinations of values of parameters with few values, such as flags and enums."""
_MOST_ASKED = 10_000
"""Most times that anything is asked on one way: `while names: names.pop()` never ends, either."""


class Traced(Protocol):
    """What a body returns on one way: a flow's graph."""

    @property
    def stages(self) -> tuple[Stage, ...]: ...
    @property
    def shape(self) -> str: ...


G = TypeVar("G", bound=Traced)


class _Question:
    """What a body asked about a stand-in, where, and which of the ``answers`` it gets now."""

    def __init__(self, text: str, names: tuple[str, ...], answers: int) -> None:
        self.text = text
        self.names = names
        self.answers = answers
        self.answer = 0
        self.places: set[str] = set()

    @property
    def place(self) -> str:
        """The only line that asked it; empty if there is none, or several."""
        return next(iter(self.places)) if len(self.places) == 1 else ""


class Ways:
    """The ways through a body whose parameters ``missing`` have no values."""

    def __init__(self, missing: Sequence[Parameter]) -> None:
        self._missing = {each.name: each for each in missing}
        self._alternatives: dict[str, list[Any]] = {}
        self._questions: list[_Question] = []
        self._answered: dict[str, bool | int] = {}
        self._known: dict[str, _Question] = {}
        self._position = self._asked = 0
        count = 1
        for each in missing:
            found = _alternatives(each.annotation)
            several = count * len(found) <= _MOST_CHOICES
            self._alternatives[each.name] = found if several else [_OfKind(None)]
            count *= len(found) if several else 1

    def explored(self, trace: Callable[[], tuple[G, list[Link]]]) -> G:
        """The graph that the body returns on all ways.

        A way that ends in an error is left out, since a body may refuse values; if all do, the
        first error is raised. Raises ValueNeeded when the structure depends on a missing value.
        """
        found: tuple[G, list[Link]] | None = None
        failed: Exception | None = None
        answers: list[int] = []
        for _ in range(_MOST_WAYS):
            try:
                traced = trace()
            except Exception as error:
                if isinstance(error, ValueNeeded):
                    raise
                if needed := self._artifact(error):
                    raise needed from error
                failed = failed or error
            else:
                if found is not None and _structure(traced[0]) != _structure(found[0]):
                    raise self._depends(answers, found, traced)
                found = found or traced
                answers = [each.answer for each in self._questions]
            if not self._turn():
                break
        else:
            last = self._questions[-1]
            raise self.needs(last.names, f"too much depends on it, such as {last.text}", last.place)
        if found is None:
            assert failed is not None
            raise self._noted(failed)
        return found[0]

    def values(self) -> dict[str, Any]:
        """What stands for the missing parameters on the current way, from its start."""
        self._answered.clear()
        self._known.clear()
        self._asked = self._position = 0
        return {name: self._chosen(name, found) for name, found in self._alternatives.items()}

    def _chosen(self, name: str, found: list[Any]) -> Any:
        one = found[self._answer(name, (name,), len(found)) if len(found) > 1 else 0]
        if not isinstance(one, _OfKind):
            return one
        if (get_origin(one.kind) or one.kind) is Secret:
            inner = get_args(one.kind)[0] if get_args(one.kind) else str
            return Secret(StandIn(About(self, (name,), f"{name}.value", inner)))
        return StandIn(About(self, (name,), name, one.kind))

    def ask(self, text: str, names: tuple[str, ...]) -> bool:
        """Whether something is true on this way; the same question gets the same answer."""
        if text not in self._answered:
            self._answered[text] = not self._answer(text, names, 2)
        self._located(text, names)
        return bool(self._answered[text])

    def count(self, text: str, names: tuple[str, ...]) -> int:
        """How many items something has on this way."""
        known = self._answered.get(text)
        if known is None or known is True:
            lengths = [each for each in _LENGTHS if each or known is None]
            answer = self._answer(f"the length of {text}", names, len(lengths))
            self._answered[text] = lengths[answer]
            self._known[text] = self._questions[self._position - 1]
        self._located(text, names)
        return int(self._answered[text])

    def _answer(self, text: str, names: tuple[str, ...], answers: int) -> int:
        if self._position == len(self._questions):
            self._questions.append(_Question(text, names, answers))
        self._known[text] = self._questions[self._position]
        self._position += 1
        return self._known[text].answer

    def _located(self, text: str, names: tuple[str, ...]) -> None:
        """Note where a question is asked. Raises ValueNeeded where this would never end."""
        self._asked += 1
        if self._asked > _MOST_ASKED or len(self._answered) > _MOST_QUESTIONS:
            raise self.needs(names, "the end of a loop depends on it")
        self._known[text].places.add(place_of(*here()))

    def _turn(self) -> bool:
        """Take the next way; False if there is none."""
        asked = self._questions
        while asked and asked[-1].answer + 1 == asked[-1].answers:
            asked.pop()
        if asked:
            asked[-1].answer += 1
        return bool(asked)

    # ---- messages ----------------------------------------------------------------------------

    def needs(self, names: Sequence[str], why: str, place: str = "") -> ValueNeeded:
        """The error for a body that needs values, with what to write."""
        several = len(names) > 1
        text = Wording(
            f"the {'values' if several else 'value'} of {self._listed(names)} "
            f"{'are' if several else 'is'} needed here, where {why}; ",
            self._remedy(names),
        )
        error = ValueNeeded(text, [ParameterProblem(name, text) for name in names])
        error.place = place
        return error

    def _listed(self, names: Sequence[str]) -> str:
        text = " and ".join(f"'{each}'" for each in names)
        return f"parameter{'s' * (len(names) > 1)} {text}"

    def _remedy(self, names: Sequence[str]) -> str:
        known = [self._missing[name] for name in names]
        if any(each.is_secret for each in known):
            return "do what depends on a secret in a step"
        examples = Arguments(**{each.name: example_of(each) for each in known})
        return Wording(f"give {'them' if len(names) > 1 else 'it'}, as in ", examples)

    def _depends(
        self,
        answers: list[int],
        one: tuple[Traced, list[Link]],
        other: tuple[Traced, list[Link]],
    ) -> ValueNeeded:
        """The error for a structure that has changed since the first new answer."""
        asked = next(
            each
            for each, before in zip_longest(self._questions, answers)
            if each is not None and each.answer != before
        )
        shapes = f"{one[0].shape}, or {other[0].shape}"
        why = f"the structure of the flow depends on {asked.text} ({shapes})"
        return self.needs(asked.names, why, asked.place or _parting(one[1], other[1]))

    def _artifact(self, error: Exception) -> ValueNeeded | None:
        """The error for a TypeError of other code, which does not accept a stand-in."""
        code, names, place = _at_fault(error)
        if not names or not isinstance(error, TypeError):
            return None
        return self.needs(names, f"{code} raises {type(error).__name__}: {error}", place)

    def _noted(self, error: Exception) -> Exception:
        """An error of the body, with a note if a stand-in may have caused it."""
        _, names, place = _at_fault(error)
        if names:
            lack = "have" if len(names) > 1 else "has"
            text = f"{place}: {self._listed(names)} {lack} no value here; "
            error.add_note(Wording(text, self._remedy(names)))
        return error


def _at_fault(error: Exception) -> tuple[str, tuple[str, ...], str]:
    """The code of the body from which an error of other code comes, with its parameters."""
    frame = users_frame(error.__traceback__)
    if frame is None or isinstance(error, LokkiError):
        return "", (), ""
    code = code_in(frame).strip()
    values = map(frame.tb_frame.f_locals.get, re.findall(r"\w+", code))
    names = [name for each in values if is_stand_in(each) for name in about(each).names]
    raised = code.startswith(("raise ", "assert "))
    return code, () if raised else tuple(dict.fromkeys(names)), place_in(frame)


def _structure(graph: Traced) -> list[Any]:
    """What must be the same for all parameters of a graph: its chain and the options of maps."""
    return [
        (
            type(stage),
            [call.name for call in stage.calls],
            *(getattr(stage, option, 0) for option in MAP_OPTIONS),
        )
        for stage in graph.stages
    ]


def _parting(one: list[Link], other: list[Link]) -> str:
    """The line of the first link in which two traces differ, or of the last one."""
    shorter, longer = sorted((one, other), key=len)
    pairs = zip_longest(longer, shorter)
    new = (link for link, same in pairs if same is None or link.words != same.words)
    return next(new, longer[-1]).place if longer else ""


class _OfKind:
    """Any value of an annotation; None for an unknown one."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


def _alternatives(kind: Any) -> list[Any]:
    """What a parameter can be: each value if there are few, otherwise a kind of values."""
    if get_origin(kind) is Annotated:
        return _alternatives(kind.__origin__)
    if isinstance(kind, NewType):
        return _alternatives(kind.__supertype__)
    if get_origin(kind) in (Union, types.UnionType):
        return [each for member in get_args(kind) for each in _alternatives(member)]
    if kind is types.NoneType:
        return [None]
    if kind is bool:
        return [True, False]
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum) and not issubclass(kind, Flag):
        return list(kind) or [_OfKind(kind)]
    return [_OfKind(None if isinstance(kind, str) else kind)]
