"""What differs between two runs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from lokki.model.base import Example, fields_of, model
from lokki.model.run import FailureGroup, Run, Stage


@model
class Difference:
    """A value that is not the same in both runs; null: it has none."""

    name: Annotated[str, Example("limit")]
    first: Any
    second: Any


@model
class StagePair:
    """A stage of both runs, or of one; without its failures."""

    name: Annotated[str, Example("crunch")]
    first: Stage | None
    second: Stage | None


@model
class FailurePair:
    """Equal failures of a stage: how many each run has."""

    id: Annotated[str, Example("8a73ee")]
    step: str
    type: Annotated[str, Example("ValueError")]
    message: str
    first: int
    second: int


@model
class Comparison:
    """Two runs, and what differs between them."""

    first: Run
    second: Run
    params: list[Difference]
    """those that differ; long values are compared as far as they are shown"""
    same_params: list[str]
    """the names of the others"""
    facts: list[Difference]
    """what else differs: the flow, its structure, tags, versions, code, file and folder"""
    stages: list[StagePair]
    failures: list[FailurePair]
    """the failure groups of both"""
    same_result: bool | None
    """null: not known, since one has no result or JSON cannot hold it"""
    results: Difference | None
    """both results as items are shown, unless they are the same"""

    @property
    def not_compared(self) -> bool:
        """Whether both results are of one type that JSON cannot hold: they may be the same."""
        if self.results is None or not self.results.first or not self.results.second:
            return False
        kinds = [each.get("type") for each in (self.results.first, self.results.second)]
        return kinds[0] is not None and kinds[0] == kinds[1]


def compare(
    first: Run,
    second: Run,
    first_result: Mapping[str, Any] | None,
    second_result: Mapping[str, Any] | None,
) -> Comparison:
    """What differs between two runs with their failures.

    A result is ``{"json": …}``, or a ``type`` and ``bytes`` where JSON cannot hold it.
    """
    names = dict.fromkeys([*first.params, *second.params])
    different = list(_differences(first.params, second.params, names))
    changed = {each.name for each in different}
    same = _same(first_result, second_result)
    known = first_result is not None or second_result is not None
    return Comparison(
        first=_short(first),
        second=_short(second),
        params=different,
        same_params=[name for name in names if name not in changed],
        facts=list(_differences(fields_of(first), fields_of(second), _FACTS)),
        stages=list(_stages(first, second)),
        failures=list(_failures(first, second)),
        same_result=same,
        results=Difference(name="result", first=first_result, second=second_result)
        if known and not same
        else None,
    )


_FACTS = (
    "flow",
    "chain",
    "tags",
    "lokki_version",
    "python_version",
    "code",
    "commit",
    "source",
    "folder",
)


def _differences(
    first: Mapping[str, Any], second: Mapping[str, Any], names: Any
) -> Iterator[Difference]:
    for name in names:
        one, other = first.get(name), second.get(name)
        if (name in first) != (name in second) or _text(one) != _text(other):
            yield Difference(name=name, first=one, second=other)


def _text(value: Any) -> str:
    """JSON, in which 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True, default=str)


def _same(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> bool | None:
    if first is None or second is None or "json" not in first or "json" not in second:
        return None
    return _text(first["json"]) == _text(second["json"])


def _short(run: Run) -> Run:
    return replace(run, stages=[_without_failures(stage) for stage in run.stages])


def _without_failures(stage: Stage) -> Stage:
    return replace(stage, inner=[], failures=[])


def _stages(first: Run, second: Run) -> Iterator[StagePair]:
    """The stages by name, in the order of the runs."""
    ones = {stage.name: _without_failures(stage) for stage in first.stages}
    others = {stage.name: _without_failures(stage) for stage in second.stages}
    for name in dict.fromkeys([*ones, *others]):
        yield StagePair(name=name, first=ones.get(name), second=others.get(name))


def _failures(first: Run, second: Run) -> Iterator[FailurePair]:
    ones, others = _groups(first), _groups(second)
    for key in dict.fromkeys([*ones, *others]):
        one, other = ones.get(key), others.get(key)
        group = one or other
        assert group is not None
        yield FailurePair(
            id=group.id,
            step=group.step,
            type=group.type,
            message=group.message,
            first=one.count if one else 0,
            second=other.count if other else 0,
        )


def _groups(run: Run) -> dict[tuple[str, str], FailureGroup]:
    return {(group.step, group.id): group for stage in run.stages for group in stage.failures}
