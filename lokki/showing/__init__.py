"""``lokki.show()``: what a step shows belongs to its run and item."""

from __future__ import annotations

import sys
from time import time
from typing import Any

from lokki import output
from lokki.call import Running, numbers_of
from lokki.ipython import in_notebook
from lokki.model.attachment import HTML, MARKDOWN, TABLE, Shown, packed
from lokki.secret import redacted
from lokki.showing.bundle import bundle
from lokki.showing.contents import Content, Kind, TooLarge, content_of
from lokki.steps import running

MOST_OF_CALL = 100
_LONGEST_TITLE = 200


def show(value: Any, title: str | None = None, *, kind: Kind | None = None) -> None:
    """Show a value with the run and the item of the step that calls this.

    It is recorded at once, so an attempt that fails later keeps what it has shown. It is seen on
    the run's page, and saved by ``lokki show RUN --save DIR``. A value is one of these:

    - a text: Markdown or, with ``kind="html"`` or if it begins as a page, HTML. Up to 200,000
      characters of Markdown, 8 MB of HTML. HTML is shown in a frame in which no scripts run unless
      the reader asks for that, and which never has access to the network;
    - a table: a DataFrame or Series of pandas or Polars, an Arrow table, an array of NumPy, a list
      of dicts, or a dict for one row. The first 1,000 rows and 100 columns, up to 1,000,000
      characters;
    - a picture: PNG, JPEG, WebP, GIF or SVG as bytes, or an image of Pillow. Up to 4 MB;
    - a figure: of matplotlib as a PNG, of altair as an SVG (with the package vl-convert-python), of
      plotly as a page with its scripts (5 MB, 1.5 MB in the journal);
    - anything that has a picture, Markdown or HTML for notebooks (``_repr_png_`` and so on).

    A call may show 100 values, a run 10,000, of 256 MB together. Too long texts and tables are cut
    and say so. For what is too large, or too much, there is a warning instead: the step goes on.

    ``title`` stands above it. Secrets are masked, except in pictures. In threads that the step
    starts, it works as in the step itself.

    Outside a run, a notebook shows the value, and other programs print it in a line.

    Raises TypeError for a value that cannot be shown, LokkiError in a process that the step itself
    has started, and for a chart of altair without its package.
    """
    here = running.get()
    if here is None:
        _show_here(value, content_of(value, kind), title)
        return
    number = next(numbers_of(here))
    if number >= MOST_OF_CALL:
        if number == MOST_OF_CALL:
            _warn(
                here,
                f"the call has shown {MOST_OF_CALL} values, as many as it may; others are left out",
            )
        return
    try:
        content = content_of(value, kind)
    except TooLarge as error:
        _warn(here, str(error))
        content = Content(MARKDOWN, f"*Not shown: {error}*".encode())
    call, index, attempt = here[:3]
    data = content.data
    if call.secrets and content.type in (MARKDOWN, HTML, TABLE):
        data = redacted(data.decode(), call.secrets).encode()
    shown = Shown(
        step=call.name,
        item=index if call.in_map else None,
        attempt=attempt,
        number=number,
        at=time(),
        title=None if title is None else redacted(str(title), call.secrets)[:_LONGEST_TITLE],
        type=content.type,
        size=len(data),
        packed=packed(data, content.type),
    )
    output.record(call.run_id, shown)


def _warn(here: Running, why: str) -> None:
    call, index, attempt = here[:3]
    item = index if call.in_map else None
    text = redacted(f"not shown: {why}", call.secrets)
    output.record(call.run_id, (time(), call.name, item, attempt, "WARNING", "lokki", text))
    subject = call.name if item is None else f"{call.name}[{item}]"
    output.show(call.run_id, f"[WARNING] {subject}: {text}\n")


def _show_here(value: Any, content: Content, title: str | None) -> None:
    """Show something outside a run."""
    if in_notebook():
        display = sys.modules["IPython"].display
        if content.type == TABLE:
            display.display(value)
        else:
            display.display(bundle(*content), raw=True)
        return
    what = f"{content.type}, {len(content.data):,} bytes"
    if content.type == MARKDOWN:
        what = content.data.decode()
    elif content.type == TABLE:
        what = str(value)
    print(f"{title}: {what}" if title else what)
