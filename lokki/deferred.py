"""Signatures and annotations whose names may not be known yet.

Since Python 3.14, an unquoted annotation may name something that is defined later in its module or
imported for type checkers alone. Here it stays a ForwardRef, which `typing.get_type_hints` takes
like a string.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def signature(fn: Callable[..., Any]) -> inspect.Signature:
        return inspect.signature(fn, annotation_format=Format.FORWARDREF)

    def written(fn: Callable[..., Any], parameter: inspect.Parameter) -> str:
        """A parameter's annotation as its author wrote it."""
        if isinstance(parameter.annotation, str):
            return parameter.annotation
        as_text = inspect.signature(fn, annotation_format=Format.STRING)
        return str(as_text.parameters[parameter.name].annotation)

    def annotated(thing: Any) -> dict[str, Any]:
        return get_annotations(thing, format=Format.FORWARDREF)

else:

    def signature(fn: Callable[..., Any]) -> inspect.Signature:
        return inspect.signature(fn)

    def written(fn: Callable[..., Any], parameter: inspect.Parameter) -> str:
        """A parameter's annotation as its author wrote it."""
        return str(parameter.annotation)

    def annotated(thing: Any) -> dict[str, Any]:
        return getattr(thing, "__annotations__", {})
