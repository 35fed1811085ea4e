"""What steps have shown, in S3: written by the runtime, read by views of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lokki.errors import AttachmentNotFound
from lokki.model.attachment import Attachment, Shown, described, unpacked
from lokki.model.base import fields_of
from lokki.runtime.payloads import Payloads
from lokki.store.keys import is_part, preview_key, shown_key, shown_prefix

_ABOUT = "about.json"
_CONTENT = "content.zlib"
_MOST = 1_000
"""The most values of a run that are listed."""


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
