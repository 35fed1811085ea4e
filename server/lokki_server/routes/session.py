"""Logging in to the dashboard, where a token is needed."""

from __future__ import annotations

from importlib.metadata import version
from socket import gethostname
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from lokki_server.problems import Problem
from lokki_server.security import COOKIE, Token, address_of

router = APIRouter(tags=["session"])


class Session(BaseModel):
    login_needed: bool
    version: str
    name: str = Field(description="the name of the machine")
    editor: str | None = Field(
        description="the URL that opens a line of code in the reader's editor",
        examples=["vscode://file{file}:{line}"],
    )


class Login(BaseModel):
    token: str = Field(max_length=1000)


def _token(request: Request) -> Token:
    token: Token = request.app.state.token
    return token


@router.get("/session", response_model=Session)
async def get_session(request: Request) -> Any:
    """Whether the caller has to log in first."""
    return {
        "login_needed": not _token(request).allows(request.headers, address_of(request.scope)),
        "version": version("lokki-engine"),
        "name": gethostname(),
        "editor": request.app.state.editor,
    }


@router.post("/login", status_code=204)
async def login(request: Request, asked: Login) -> Response:
    """Log in with the server's token; the answer sets a cookie."""
    token = _token(request)
    if token.needed and not token.matches(asked.token, address_of(request.scope)):
        raise Problem(401, "This is not the server's token")
    response = Response(status_code=204)
    if token.needed:
        response.set_cookie(
            COOKIE,
            token.session,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return response
