"""Where a run keeps its parameters: in its row or, if they are large, in a payload.

A row is written again at each heartbeat and read for each list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from lokki.errors import PayloadError
from lokki.store.codec import PROTOCOL, compress_chunks, dumps_plain, unpack
from lokki.store.keys import params_key
from lokki.store.references import Reference

if TYPE_CHECKING:
    from lokki.store.protocol import PayloadStore
    from lokki.store.runs import RunRecord

INLINE_BYTES = 64 * 1024
"""Parameters up to this size, as a pickle and as JSON, are in the run's row."""
_LONGEST_VALUE = 1024
"""Characters of a value's JSON that are shown of large parameters."""
_BEGINNING = 200


@dataclass(frozen=True, slots=True)
class KeptParams:
    """The columns of a run's row: the pickle, the JSON to show, the payload with both."""

    packed: bytes
    shown: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenParams:
    """Parameters to keep: the JSON to show, and their pickle or, if ``is_payload``, both."""

    data: bytes
    shown: str
    is_payload: bool


def written_params(packed: bytes, shown: Mapping[str, Any]) -> WrittenParams:
    """Parameters to keep: ``packed`` is their pickle, ``shown`` their JSON values."""
    text = json.dumps(shown)
    if max(len(packed), len(text)) <= INLINE_BYTES:
        return WrittenParams(packed, text, False)
    data = b"".join(compress_chunks([dumps_plain((packed, text), PROTOCOL)]))
    return WrittenParams(data, json.dumps(short(shown)), True)


async def keep(store: PayloadStore, flow: str, run_id: str, written: WrittenParams) -> KeptParams:
    """The parameters of a new run; stores large ones. Raises PayloadError."""
    if not written.is_payload:
        return KeptParams(written.data, written.shown)
    key = params_key(flow, run_id, token_hex(5))
    reference = await anyio.to_thread.run_sync(Reference.of, key, written.data)
    await store.put(key, written.data)
    return KeptParams(b"", written.shown, str(reference))


async def drop(store: PayloadStore, ref: str | None) -> None:
    """Delete what was stored for a run that was not recorded."""
    if ref is not None:
        await store.delete_prefix(Reference.parse(ref).key.rpartition("/")[0])


async def with_params(run: RunRecord, store: PayloadStore) -> RunRecord:
    """A run with all its parameters in its row. Raises PayloadError, which says what to do."""
    if run.params_ref is None:
        return run
    reference = Reference.parse(run.params_ref)

    def read(data: bytes) -> RunRecord:
        reference.check(data)
        packed, text = unpack(data)
        return replace(run, params=packed, params_json=text)

    try:
        data = await store.get(reference.key)
        return await anyio.to_thread.run_sync(read, data)
    except PayloadError as error:
        raise PayloadError(
            f"the parameters of run {run.id} cannot be read back: the payload "
            f"{store.url(reference.key)}: {error}; restore it, or start a new run"
        ) from error


def short(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON values, long ones as a text: their beginning and length."""
    return {name: _short(value) for name, value in values.items()}


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= _LONGEST_VALUE:
        return value
    return f"{text[:_BEGINNING]}… (cut: it has {len(text):,} characters)"
