"""What a value looks like: a media type and bytes.

Values say it themselves, by what their libraries offer or by the methods that notebooks call
(``_repr_png_`` and so on); no library is imported for it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO, StringIO
from typing import Any, Literal, NamedTuple, TypeAlias

from lokki.errors import LokkiError
from lokki.model.attachment import HTML, MARKDOWN, SVG, TABLE
from lokki.showing.tables import as_json, table_of

Kind: TypeAlias = Literal["markdown", "html"]

MOST_TEXT = 200_000
"""Characters of a Markdown text; the rest is cut off."""
MOST_IMAGE = 4_000_000
MOST_HTML = 8_000_000
"""Bytes; plotly's library, which its pages have in them, takes 5 MB."""


class Content(NamedTuple):
    """Something to show."""

    type: str
    data: bytes


class TooLarge(LokkiError):
    """Something is too large to be shown; the message says what to do."""


def content_of(value: Any, kind: Kind | None = None) -> Content:
    """What a value looks like; ``kind`` says what a text is.

    Raises TooLarge, TypeError for a value that cannot be shown, and whatever the value raises.
    """
    if isinstance(value, str):
        return _of_text(value, kind)
    if kind is not None:
        raise TypeError(f"lokki.show(kind=…) says what a text is, not {_named(value)}")
    if isinstance(value, bytes | bytearray | memoryview):
        return _of_bytes(bytes(value))
    if not isinstance(value, type):
        table = table_of(value)
        if table is not None:
            return Content(TABLE, as_json(table).encode(errors="replace"))
        for draw in (_of_figure, _of_altair, _of_plotly, _of_reprs):
            found = draw(value)
            if found is not None:
                return found
    raise TypeError(
        f"lokki.show() cannot show {_named(value)}: give it Markdown or HTML as a text, a table "
        "(a DataFrame, an Arrow table, a list of dicts), a picture (PNG, JPEG, WebP, GIF or SVG as "
        "bytes, or of Pillow) or a figure (of matplotlib, plotly or altair)"
    )


def _named(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{'the class' if kind is value else 'a value of'} {kind.__module__}.{kind.__qualname__}"


def _of_text(text: str, kind: Kind | None) -> Content:
    begin = text[:1_000].lstrip().lower()
    if kind not in (None, "markdown", "html"):
        raise ValueError(f"lokki.show(kind={kind!r}): write 'markdown' or 'html', or leave it out")
    if kind is None and (
        begin.startswith("<svg") or (begin.startswith("<?xml") and "<svg" in begin)
    ):
        return _image(SVG, text.encode(errors="replace"))
    if kind == "html" or (kind is None and begin.startswith(("<!doctype html", "<html"))):
        return _html(text)
    if len(text) > MOST_TEXT:
        text = f"{text[:MOST_TEXT]}…\n\n*The first {MOST_TEXT:,} of {len(text):,} characters.*"
    return Content(MARKDOWN, text.encode(errors="replace"))


def _of_bytes(data: bytes) -> Content:
    for kind, begins in _SIGNATURES.items():
        if begins(data):
            return _image(kind, data)
    raise TypeError(
        "lokki.show() knows these bytes for no picture: give it PNG, JPEG, WebP, GIF or SVG, and a "
        "text as str"
    )


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "image/png": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": lambda data: data.startswith(b"\xff\xd8\xff"),
    "image/gif": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "image/webp": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    SVG: lambda data: (
        data.lstrip()[:5].lower() in (b"<svg ", b"<svg>", b"<?xml")
        and b"<svg" in data[:1_000].lower()
    ),
}


def _of_figure(value: Any) -> Content | None:
    """A figure of matplotlib, its axes, ``pyplot``, or what is drawn with them."""
    if _is_of(value, "matplotlib", "Axes"):
        value = value.figure
    save = getattr(value, "savefig", None)
    if not callable(save):
        return None
    file = BytesIO()
    save(file, format="png", bbox_inches="tight")
    return _image("image/png", file.getvalue(), "lower its dpi or its size")


def _of_plotly(value: Any) -> Content | None:
    """A figure of plotly, as a page that has its library in it."""
    if not _is_of(value, "plotly"):
        return None
    return _html(value.to_html(include_plotlyjs=True, full_html=True))


def _of_altair(value: Any) -> Content | None:
    """A chart of altair, drawn by its library of choice."""
    if not (_is_of(value, "altair") and hasattr(value, "to_dict")):
        return None
    if find_spec("vl_convert") is None:
        raise LokkiError(
            "lokki.show() needs the package vl-convert-python, with which altair draws charts "
            "without a browser: add it to the program's dependencies"
        )
    file = StringIO()
    value.save(file, format="svg")
    return _image(SVG, file.getvalue().encode())


def _is_of(value: Any, package: str, name: str | None = None) -> bool:
    """Whether a value's class, or one that it inherits from, is of a package."""
    return any(
        kind.__module__.partition(".")[0] == package and name in (None, kind.__name__)
        for kind in type(value).__mro__
    )


def _of_reprs(value: Any) -> Content | None:
    """What a value shows in a notebook; of several forms, the best that is not too large."""
    too_large = None
    for name, kind in _REPRS.items():
        method = getattr(value, name, None)
        found: Any = method() if callable(method) else None
        if isinstance(found, tuple):  # with metadata
            found = found[0]
        if not found:
            continue
        try:
            if kind == HTML:
                return _html(found)
            if kind == MARKDOWN:
                return _of_text(found, "markdown")
            return _image(kind, found if isinstance(found, bytes) else found.encode())
        except TooLarge as error:
            too_large = too_large or error
    if too_large is not None:
        raise too_large
    return None


_REPRS = {
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_svg_": SVG,
    "_repr_markdown_": MARKDOWN,
    "_repr_html_": HTML,
}
"""The methods that notebooks call, the best first."""


def _image(kind: str, data: bytes, advice: str = "make it smaller, or save it as JPEG") -> Content:
    if len(data) > MOST_IMAGE:
        raise TooLarge(
            f"a picture may have {MOST_IMAGE // 1_000_000} MB, and this one has "
            f"{len(data) / 1e6:.1f} MB: {advice}"
        )
    return Content(kind, data)


def _html(text: str) -> Content:
    data = text.encode(errors="replace")
    if len(data) > MOST_HTML:
        raise TooLarge(
            f"a page may have {MOST_HTML // 1_000_000} MB, and this one has "
            f"{len(data) / 1e6:.1f} MB: show less data, or write it to a file"
        )
    return Content(HTML, data)
