"""What steps have shown, in S3: written by the runtime, read by views of a run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from time import time

from lokki.errors import AttachmentNotFound
from lokki.model.attachment import PREVIEW, Attachment, Shown, described, packed, unpacked
from lokki.model.base import fields_of
from lokki.model.times import seconds
from lokki.runtime.payloads import Payloads
from lokki.store.keys import is_part, preview_key, previews_prefix, shown_key, shown_prefix

_ABOUT = "about.json"
_CONTENT = "content.zlib"
_MOST = 1_000
"""The most values of a run that are listed."""
_AT_A_TIME = 16
"""Contents in memory at a time, of up to 8 MB, while a run is copied."""


async def keep(payloads: Payloads, run_id: str, shown: Sequence[Shown]) -> None:
    """Store what a call has shown, and the preview of its result. Raises PayloadError."""
    for each in shown:
        if each.number is None:
            key = preview_key(payloads.flow, run_id, each.step, each.item)
            await payloads.store.put(key, unpacked(each.packed))
            continue
        about = json.dumps(described(each), default=fields_of).encode()
        for name, data in ((_CONTENT, each.packed), (_ABOUT, about)):  # the list reads the second
            await payloads.store.put(_key(payloads, run_id, each.name, name), data)


async def listed(payloads: Payloads, run_id: str, known: dict[str, Attachment]) -> list[Attachment]:
    """What a run's steps have shown, up to 1,000 values, in order; reads those not ``known``."""
    keys = await payloads.store.list(shown_prefix(payloads.flow, run_id))
    new = [key for key in keys if key.endswith(f"/{_ABOUT}") and key not in known]
    new = new[: max(0, _MOST - len(known))]
    for key, data in zip(new, await payloads.read(new), strict=True):
        known[key] = Attachment(**json.loads(data))
    return sorted(known.values(), key=lambda each: (each.at, each.name))


async def copies(payloads: Payloads, run_id: str) -> AsyncIterator[Shown]:
    """What a run's steps have shown, in the order of its names, and the previews of its results."""
    keys = await payloads.store.list(shown_prefix(payloads.flow, run_id))
    abouts = [key for key in keys if key.endswith(f"/{_ABOUT}")]
    for some in _parts(abouts):
        contents = [f"{key.removesuffix(_ABOUT)}{_CONTENT}" for key in some]
        read = await payloads.read([*some, *contents])
        for about, data in zip(read, read[len(some) :], strict=False):
            yield _shown(Attachment(**json.loads(about)), data)
    for some in _parts(await payloads.store.list(previews_prefix(payloads.flow, run_id))):
        for key, data in zip(some, await payloads.read(some), strict=True):
            yield _preview(key, data)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[first : first + _AT_A_TIME] for first in range(0, len(keys), _AT_A_TIME))


def _shown(about: Attachment, data: bytes) -> Shown:
    return Shown(
        step=about.step,
        item=about.item,
        attempt=about.attempt,
        number=int(about.name.rpartition(".")[2]),
        at=seconds(about.at),
        title=about.title,
        type=about.type,
        size=about.size,
        packed=data,
    )


def _preview(key: str, data: bytes) -> Shown:
    *_, stage, file = key.split("/")
    item = file.removesuffix(".json")
    return Shown(
        step=stage,
        item=int(item) if item.isdecimal() else None,
        attempt=1,
        number=None,
        at=time(),
        title=None,
        type=PREVIEW,
        size=len(data),
        packed=packed(data, PREVIEW),
    )


async def content(payloads: Payloads, run_id: str, name: str) -> tuple[Attachment, bytes]:
    """Something shown, with its content. Raises AttachmentNotFound."""
    parts = name.split(".")
    if len(parts) != 4 or not is_part(parts[0]) or not all(map(str.isdecimal, parts[2:])):
        raise AttachmentNotFound(f"run {run_id} has shown nothing named {name!r}")
    keys = [_key(payloads, run_id, name, each) for each in (_ABOUT, _CONTENT)]
    if not await payloads.store.exists(keys[0]):
        raise AttachmentNotFound(f"run {run_id} has shown nothing named {name!r}")
    about, data = await payloads.read(keys)
    return Attachment(**json.loads(about)), unpacked(data)


async def preview(payloads: Payloads, run_id: str, stage: str, index: int | None) -> bytes | None:
    """The beginning of a result, as JSON of a table; None without one."""
    key = preview_key(payloads.flow, run_id, stage, index)
    return await payloads.store.get(key) if await payloads.store.exists(key) else None


def _key(payloads: Payloads, run_id: str, name: str, file: str) -> str:
    step, item, attempt, number = name.split(".")
    index = int(item) if item.isdecimal() else None
    return shown_key(payloads.flow, run_id, step, index, f"{attempt}.{number}", file)
