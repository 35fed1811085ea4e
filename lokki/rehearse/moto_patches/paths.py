"""Parses JSONPaths once: moto builds a parser for each value that a state looks up."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from lokki.rehearse.moto_patches.modules import asl

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform


def change(platform: Platform) -> None:
    paths = asl("utils.json_path")
    paths.parse = cache(paths.parse)
