"""The patched modules of moto, untyped: their types describe them unpatched."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ASL = "stepfunctions.parser.asl"


def moto(name: str) -> Any:
    """A module of moto."""
    return import_module(f"moto.{name}")


def add_resource(kind: Any, models: Any) -> None:
    """Have CloudFormation make resources of a type that moto's ``models`` of a service lack."""
    kind.__module__ = models.__name__  # moto finds the maker of a resource by it
    parsing = moto("cloudformation.parsing")
    parsing.get_model_map.cache_clear()
    parsing.get_name_type_map.cache_clear()


def asl(name: str) -> Any:
    """A module of its interpreter of Amazon States Language."""
    return moto(f"{_ASL}.{name}")
