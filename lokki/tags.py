"""Tags of runs: words to find them by."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lokki.errors import DefinitionError

MOST_TAGS = 20
TAG = "[A-Za-z0-9_][A-Za-z0-9_.:=/@+-]{0,59}"
_TAG = re.compile(TAG)


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags, each once, in the order given. Raises DefinitionError for what is none."""
    if isinstance(tags, str):
        raise DefinitionError(f"tags are a list of texts: write tags=[{tags!r}]")
    found = tuple(dict.fromkeys(map(checked_tag, tags)))
    if len(found) > MOST_TAGS:
        raise DefinitionError(f"a run has at most {MOST_TAGS} tags, not {len(found)}")
    return found


def run_tags(flow: Iterable[str], given: Iterable[str]) -> tuple[str, ...]:
    """The tags of a run: those of its flow, then those given. Raises DefinitionError."""
    return checked_tags([*flow, *checked_tags(given)])


def checked_tag(tag: object) -> str:
    """A tag. Raises DefinitionError for what is none."""
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise DefinitionError(
            f"{tag!r} is not a tag: write at most 60 ASCII letters, digits and . _ - : = / @ +, "
            "beginning with a letter, a digit or _"
        )
    return tag
