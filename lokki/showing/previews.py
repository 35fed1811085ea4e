"""Previews: the beginning of a result that is a table, written when the call returns it.

The pickle of a DataFrame cannot be read without its library, and is often large.
"""

from __future__ import annotations

from time import time
from typing import Any

from lokki import output
from lokki.call import running
from lokki.model.attachment import PREVIEW, Shown, packed
from lokki.secret import redacted
from lokki.showing.tables import PREVIEWED, as_json, is_frame, table_of


def preview(stage: str, result: Any) -> None:
    """Record the beginning of a call's result, the result of ``stage``, if it is a table.

    Called in the context of the call. Secrets are masked. A table that cannot be shown has no
    preview.
    """
    here = running.get()
    if here is None or not is_frame(result):
        return
    call, index, attempt = here[:3]
    try:
        table = table_of(result, PREVIEWED)
        text = "" if table is None else as_json(table, PREVIEWED)
    except Exception:  # of the values' own code: the result is what counts
        return
    data = redacted(text, call.secrets).encode(errors="replace")
    shown = Shown(
        step=stage,
        item=index if call.in_map else None,
        attempt=attempt,
        number=None,
        at=time(),
        title=None,
        type=PREVIEW,
        size=len(data),
        packed=packed(data, PREVIEW),
    )
    output.record(call.run_id, shown)
