"""The patched modules of moto, untyped: their types describe them unpatched."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ASL = "stepfunctions.parser.asl"


def moto(name: str) -> Any:
    """A module of moto."""
    return import_module(f"moto.{name}")


def asl(name: str) -> Any:
    """A module of its interpreter of Amazon States Language."""
    return moto(f"{_ASL}.{name}")
