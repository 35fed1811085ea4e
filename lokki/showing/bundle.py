"""How a notebook displays what is shown."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from lokki.model.attachment import HTML, MARKDOWN

_HEIGHT = 420


def bundle(kind: str, content: bytes) -> dict[str, str]:
    """A text, page or picture by media type, as notebooks display it.

    A page is in a frame with an origin of its own: what it has from elsewhere cannot change the
    notebook.
    """
    if kind == MARKDOWN:
        return {MARKDOWN: content.decode()}
    if kind == HTML:
        page = escape(content.decode())
        style = f'style="width: 100%; height: {_HEIGHT}px; border: 0"'
        return {HTML: f'<iframe sandbox="allow-scripts" {style} srcdoc="{page}"></iframe>'}
    data = b64encode(content).decode()
    return {HTML: f'<img src="data:{kind};base64,{data}" style="max-width: 100%">'}
