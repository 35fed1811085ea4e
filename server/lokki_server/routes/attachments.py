"""What a run's steps have shown: texts, tables, pictures and pages."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import anyio.to_thread
from fastapi import Path, Query, Response
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from pydantic import BaseModel, Field

from lokki.model.attachment import HTML, MARKDOWN, Attachment, AttachmentList
from lokki_server.problems import Problem
from lokki_server.routes.common import RunId, RunRoutes, Runs, problems

of_run = RunRoutes("attachments")

_NO_NETWORK = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "media-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_POPUPS = "allow-popups allow-popups-to-escape-sandbox"
_WITHOUT_SCRIPTS = f"{_NO_NETWORK}; sandbox {_POPUPS}"
_WITH_SCRIPTS = (
    f"{_NO_NETWORK}; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; "
    f"sandbox allow-scripts {_POPUPS}"
)
"""Policies for what steps have made, perhaps of what they found on the Internet: it has an origin
of its own, without cookies or the API, and no access to the network."""


def _align(state: StateCore) -> None:
    """Align the columns of tables without styles, which the dashboard's policy refuses."""
    for token in state.tokens:
        style = token.attrs.pop("style", None)
        if style is not None:
            token.attrs["align"] = str(style).partition(":")[2]


_renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
_renderer.core.ruler.push("align", _align)

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,160}$")]


class AttachmentQuery(BaseModel):
    """Which of the values that were shown to return."""

    step: str | None = Field(None, max_length=200)
    item: int | None = Field(None, ge=0, lt=2**32)
    after: str | None = Field(
        None, max_length=160, description="only values after the one of this name"
    )
    limit: int = Field(100, ge=1, le=1000)


@of_run.get("/attachments", response_model=AttachmentList, responses=problems(404))
async def list_attachments(
    runs: Runs, run_id: RunId, asked: Annotated[AttachmentQuery, Query()]
) -> Any:
    """What the run's steps have shown with `lokki.show`, in order, without the contents."""
    found = await runs.attachments(
        run_id, step=asked.step, item=asked.item, after=asked.after, limit=asked.limit + 1
    )
    more, found = found[asked.limit :], found[: asked.limit]
    return AttachmentList(attachments=found, next=found[-1].name if more else None)


@of_run.get("/attachments/{attachment}", response_model=Attachment, responses=problems(404))
async def get_attachment(runs: Runs, run_id: RunId, attachment: Name) -> Any:
    """One value that was shown, without its content."""
    found, _ = await runs.attachment(run_id, attachment)
    return found


_BYTES = {"schema": {"type": "string", "format": "binary"}}
_ANY: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The content, with the media type of the value.",
        "content": {"application/octet-stream": _BYTES},  # generated clients know no other bytes
    }
}


@of_run.get(
    "/attachments/{attachment}/content", response_class=Response, responses=problems(404) | _ANY
)
async def get_attachment_content(runs: Runs, run_id: RunId, attachment: Name) -> Response:
    """The content of a value that was shown: a table is JSON with `columns` and `rows`."""
    found, content = await runs.attachment(run_id, attachment)
    kind = found.type if found.type.startswith("image/") else f"{found.type}; charset=utf-8"
    return _answer(content, kind, _WITHOUT_SCRIPTS, found.file)


_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}}
}


@of_run.get(
    "/attachments/{attachment}/page", response_class=Response, responses=problems(404, 409) | _PAGE
)
async def get_attachment_page(
    runs: Runs,
    run_id: RunId,
    attachment: Name,
    scripts: Annotated[bool, Query(description="let the page's own scripts run")] = False,
) -> Response:
    """A text or page that was shown, as HTML for a frame: without access to the network."""
    found, content = await runs.attachment(run_id, attachment)
    if found.type == MARKDOWN:
        content = (await anyio.to_thread.run_sync(_renderer.render, content.decode())).encode()
    elif found.type != HTML:
        raise Problem(409, "This is no page", f"{attachment} is {found.type}: see its content")
    policy = _WITH_SCRIPTS if scripts and found.type == HTML else _WITHOUT_SCRIPTS
    return _answer(content, f"{HTML}; charset=utf-8", policy, found.file)


def _answer(content: bytes, kind: str, policy: str, file: str) -> Response:
    """Something shown; the Guard adds the headers of every answer, such as nosniff."""
    name = f"filename*=UTF-8''{quote(file)}"
    return Response(
        content,
        media_type=kind,
        headers={"Content-Security-Policy": policy, "Content-Disposition": f"inline; {name}"},
    )
