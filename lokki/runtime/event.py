"""What a state passes to a step and gets back: a small event, with values in it or in S3.

``{"flow": {"run_id": …, "params": {…}}, "input": …}``, with ``index`` inside a map, or with
``items``, a list of ``{"index": …, "input": …}``, for several items at a time. An input is the
value itself if JSON preserves it exactly, otherwise the URL of the stored result. Where an event
would become too large with several items, an item is its index alone: its input is the result
that the call before stored under it.

A durable function passes ``slice`` instead, which says which items these are: see `Slice`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from lokki.errors import LokkiError, ParameterError

INLINE_BYTES = 4096
"""Most characters of a value in an event: a state takes 256 KiB, and the overrides of a Batch job
8 KiB (docs.aws.amazon.com/batch/latest/APIReference)."""
MOST_BYTES = 256 * 1024
"""The size of a state's input or result as JSON, a quota of Step Functions
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)."""
_MOST_SENT_BACK = MOST_BYTES - 2 * 1024
"""Of an event: AWS adds about 920 bytes to a function's answer, the next state some parameters."""
MOST_BATCH_BYTES = 192 * 1024
"""Of the items of a batch: the flow's parameters and those of the state are beside them."""
MOST_PARAMS_BYTES = 250 * 1024
"""Of a run's parameters: a value in the event, and what AWS adds, are beside them."""
MOST_DURABLE_PARAMS_BYTES = 32 * 1024
"""The same for a durable function: each of its calls, at most 3,000, records them again, and an
execution may record 100 MB
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
ORCHESTRATION = "LOKKI_ORCHESTRATION"
"""The variable of a durable function with the functions that it calls, by step, and how many calls
a map makes at a time, as JSON."""
OUTLINE = "flow"
"""The operation of a durable execution whose result is the structure of its flow."""
FLOW, STEP = "LOKKI_FLOW_NAME", "LOKKI_STEP_NAME"
MODULE, BUCKET = "LOKKI_MODULE_NAME", "LOKKI_ARTIFACT_BUCKET"
"""The variables of a function or job: its flow and step, the module of the flow, the bucket of
results."""
PREVIEWS = "LOKKI_LOCAL_PREVIEWS"
"""The variable that is ``false`` where results have no previews."""
EVENT = "LOKKI_EVENT"
"""The variable with a Batch job's event."""
REDRIVEN = "LOKKI_REDRIVEN"
"""The variable with the number of redrives of a Batch job's execution."""
RESUMED = "lokki:resumed"
"""What the input of an execution has besides parameters if results are already stored."""
TAGS = "lokki:tags"
"""The same for a run with tags: their list."""
NO_CACHE = "lokki:no_cache"
"""The same for a run that uses no cached results, and replaces them."""
TRACE = "lokki:traceparent"
"""The same for a run that belongs to a trace: the span above it
(https://www.w3.org/TR/trace-context/#traceparent-header)."""
_NOTE = "lokki:"
"""With this begins the name of what is no parameter, also of what a newer lokki may add."""
_TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MOST_LATER = 30
"""How often Step Functions tries a call again that has raised RetryLater."""
FAILED = 64
"""The exit code of a Batch job whose step has failed for good, or cannot be called."""
_MOST_INT = 2**53 - 1  # beyond, a JSON reader may use the nearest double
_DEEPEST = 20
URL = "s3://"


class EventError(LokkiError):
    """An event is not one that a state of a flow passes to a step."""


@dataclass(frozen=True, slots=True)
class FlowContext:
    """The run of an event; ``resumed``: it began with results of another run.

    ``no_cache``: it uses no cached results, and replaces them. ``trace``: the span above it.
    """

    run_id: str
    params: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False
    no_cache: bool = False
    trace: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The run as a state passes it on."""
        notes = {RESUMED: self.resumed, NO_CACHE: self.no_cache, TRACE: self.trace}
        set_ones = {name: value for name, value in notes.items() if value}
        return {"run_id": self.run_id, "params": {**self.params, **set_ones}}


@dataclass(frozen=True, slots=True)
class Item:
    """An input and, inside a map, its index in the source.

    ``stored``: the input is the result that the call before stored under this index.
    """

    index: int | None
    input: Any = None
    stored: bool = False

    def to_json(self) -> Any:
        """The item in a list of them."""
        return self.index if self.stored else {"index": self.index, "input": self.input}


@dataclass(frozen=True, slots=True)
class Slice:
    """The ``count`` items of a map from index ``first`` on, but for those ``without`` an input.

    Their inputs are in the ``manifest``, whose bytes from ``start`` to ``end`` have those of index
    ``base`` and after; without a manifest, they are the results of the call before. ``died``: AWS's
    name and text of what ended the process that had this slice before, and the number of that
    attempt. ``put_off``: how often it was called again for items that raised RetryLater.
    """

    first: int
    count: int
    base: int = 0
    manifest: str | None = None
    start: int = 0
    end: int = 0
    without: tuple[int, ...] = ()
    died: tuple[str, str, int] | None = None
    put_off: int = 0

    def to_json(self) -> dict[str, Any]:
        """The slice in an event."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Slice:
        """The slice in an event. Raises EventError for one that cannot be."""
        names = {each.name for each in fields(cls)}
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if name in names
        }
        try:
            return cls(**known)
        except TypeError as error:
            raise EventError(f"'slice' of the event is not one: {error}") from None


@dataclass(frozen=True, slots=True)
class LambdaEvent:
    """An event with its ``input`` and, inside a map, its ``index`` in the source.

    ``batch``: instead of these, the items of an invocation that has several; ``slice``: those of a
    durable function. ``cut``: its result is cut into slices of so many items, 0 for the default.
    ``retried``: how often
    the state was entered again; ``redriven``: how often its execution was redriven; ``direct``: it
    comes from no state, so that the step is called with its input, whatever is stored.
    """

    flow: FlowContext
    input: Any = None
    index: int | None = None
    batch: tuple[Item, ...] | None = None
    slice: Slice | None = None
    cut: int | None = None
    retried: int = 0
    redriven: int = 0
    direct: bool = False

    @property
    def items(self) -> tuple[Item, ...]:
        return (Item(self.index, self.input),) if self.batch is None else self.batch

    @property
    def several(self) -> bool:
        """Whether it has several items."""
        return self.batch is not None or self.slice is not None

    @property
    def is_of_resumed(self) -> bool:
        """Whether its run continues after an end, and may have results from elsewhere."""
        return self.flow.resumed or self.redriven > 0

    @property
    def may_be_done(self) -> bool:
        """Whether some of its results may already exist."""
        return self.is_of_resumed or self.retried > 0

    def to_json(self) -> dict[str, Any]:
        """The event as a state passes it on."""
        flow = self.flow.to_json()
        if self.batch is not None:
            return {"flow": flow, "items": [each.to_json() for each in self.batch]}
        index = {} if self.index is None else {"index": self.index}
        return {"flow": flow, **index, "input": self.input}

    def returning(self, outputs: Sequence[Item]) -> LambdaEvent:
        """The event as a state returns it: with several items, if need be without values."""
        if self.batch is None:
            return replace(self, index=outputs[0].index, input=outputs[0].input)
        made = replace(self, batch=tuple(outputs))
        if len(json.dumps(made.to_json())) <= _MOST_SENT_BACK:
            return made
        return replace(self, batch=tuple(Item(each.index, stored=True) for each in outputs))


def execution_input(params: Mapping[str, Any], *, durable: bool = False) -> str:
    """The input of an execution with these parameters, or of one of a durable function.

    Raises ParameterError if it is too large for the states of a flow, or cannot be encoded.
    """
    most = MOST_DURABLE_PARAMS_BYTES if durable else MOST_PARAMS_BYTES
    text = json.dumps(params, ensure_ascii=False)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"a parameter has the character {text[error.start]!r}, which UTF-8 cannot encode and "
            "AWS cannot take: pass the bytes in another form, such as base64"
        ) from None
    if size > most:
        where = "of a durable function" if durable else "on AWS"
        raise ParameterError(
            f"the parameters take {size:,} bytes as JSON, but a run {where} at most "
            f"{most:,}: store what is large in S3, and pass where it is"
        )
    return text


def params_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in the input of an execution, which may have notes beside them."""
    return {name: value for name, value in given.items() if not name.startswith(_NOTE)}


def in_trace(traceparent: object) -> dict[str, str]:
    """What the input of an execution has of the span above it: nothing, if that is none."""
    if isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent):
        return {TRACE: traceparent}
    return {}


def parse(raw: Any) -> LambdaEvent:
    """The event in JSON. Raises EventError, which says what is wrong with it."""
    event = _mapping(raw, "the event")
    flow = _mapping(event.get("flow"), "'flow'")
    run_id, given = flow.get("run_id"), _mapping(flow.get("params", {}), "'flow.params'")
    if not isinstance(run_id, str):
        raise EventError(f"'flow.run_id' of the event must be a text, not {run_id!r}")
    params = params_in(given)
    return LambdaEvent(
        FlowContext(
            run_id,
            params,
            resumed=RESUMED in given,
            no_cache=NO_CACHE in given,
            trace=in_trace(given.get(TRACE)).get(TRACE),
        ),
        event.get("input"),
        _index(event.get("index")),
        _batch(event["items"]) if "items" in event else None,
        Slice.of(_mapping(event["slice"], "'slice'")) if "slice" in event else None,
        _index(event.get("cut")),
        _index(event.get("attempt")) or 0,
        _index(event.get("redriven")) or 0,
        direct="attempt" not in event,
    )


def _batch(value: Any) -> tuple[Item, ...]:
    if not isinstance(value, list):
        raise EventError(f"'items' of the event must be a list, not {type(value).__name__}")
    return tuple(map(_item, value))


def _item(value: Any) -> Item:
    if type(value) is int:
        return Item(_index(value), stored=True)
    given = _mapping(value, "an item")
    return Item(_index(given.get("index")), given.get("input"))


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise EventError(
            f"{name} must be an object, not {type(value).__name__}; an event looks like "
            '{"flow": {"run_id": "test-1", "params": {}}, "input": null}'
        )
    return value


def _index(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise EventError(f"a number of the event must be a number from 0, not {value!r}")


def inline(value: Any) -> bool:
    """Whether a value can be in an event: it is small, and JSON preserves it exactly.

    A text that looks like an S3 URL cannot, so that everything read as a URL is one of lokki's.
    """
    if isinstance(value, str) and value.startswith(URL):
        return False
    return _same_in_json(value, _DEEPEST) and len(json.dumps(value)) <= INLINE_BYTES


def _same_in_json(value: Any, deep: int) -> bool:
    """Whether every JSON reader gets this value, with these types.

    Not for a whole float, which may come back as an int, a lone surrogate or NUL.
    """
    match value:
        case None | True | False:
            return True
        case int() if type(value) is int:
            return abs(value) <= _MOST_INT
        case float() if type(value) is float:
            return not value.is_integer() and value - value == 0
        case str() if type(value) is str:
            return _is_text(value)
        case list() if type(value) is list:
            return (
                deep > 0
                and len(value) <= INLINE_BYTES
                and all(_same_in_json(each, deep - 1) for each in value)
            )
        case dict() if type(value) is dict:
            return (
                deep > 0
                and len(value) <= INLINE_BYTES
                and all(
                    type(key) is str and _is_text(key) and _same_in_json(each, deep - 1)
                    for key, each in value.items()
                )
            )
    return False


def _is_text(value: str) -> bool:
    if len(value) > INLINE_BYTES:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return "\0" not in value


def is_secret(value: str) -> bool:
    """Whether a variable's value is the ARN of a secret in Secrets Manager."""
    return value.startswith("arn:") and ":secretsmanager:" in value
