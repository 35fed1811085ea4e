"""URLs of objects and folders in S3, as flows name them. Pure."""

from __future__ import annotations

import re

from lokki.errors import DefinitionError

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
SOURCES = "lokki.sources"
"""The module with the steps that read what their ``url`` names."""


def bucket_and_key(url: str) -> tuple[str, str]:
    """The bucket of a URL, and the key or prefix in it. Raises DefinitionError."""
    found = _URL.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise DefinitionError(f"{url!r} is not a URL in S3: write it like 's3://bucket/prefix'")
    return found[1], found[2] or ""
