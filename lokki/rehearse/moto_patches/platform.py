"""The platform that functions and jobs run on, which the patches look up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lokki.builder.children import MOST_EXPRESS_SECONDS


@dataclass(frozen=True)
class Image:
    """What a container of an image would run, and where; there is no container here."""

    folder: Path
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Platform:
    """What functions and jobs run on.

    ``python``: the interpreter of the managed runtime, in its own environment. ``images``: by URI.
    ``most_workers``: most processes of one map at a time. ``concurrency``: functions at a time in
    the account, None: any number. ``init_seconds``: how long an environment may take to start.
    ``express_seconds``: how long an express execution may take. ``shared``: folders of this
    machine that functions can write to, as they can to no other where they are ``confined``, as
    this machine may not permit. ``on_checkpoint`` is called with the ARN of a durable execution and
    the changes of its operations before and after each of its checkpoints is recorded, with False
    and True.
    """

    endpoint: str = ""
    python: str = sys.executable
    images: dict[str, Image] = field(default_factory=dict)
    most_workers: int = max(2, os.cpu_count() or 1)
    concurrency: int | None = None
    init_seconds: float = 10.0
    express_seconds: int = MOST_EXPRESS_SECONDS
    shared: tuple[str, ...] = ()
    confined: bool = False
    on_checkpoint: Callable[[str, Sequence[Mapping[str, Any]], bool], None] | None = None

    @property
    def path(self) -> str:
        """The PATH of a job's processes: its ``python`` differs from the one in this PATH."""
        return os.pathsep.join((os.path.dirname(self.python), os.environ["PATH"]))
