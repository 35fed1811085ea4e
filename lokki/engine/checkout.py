"""The commit that is checked out around a file, read from git's files: git need not be there."""

from __future__ import annotations

import os
import re

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def commit_of(file: str) -> str | None:
    """The commit of the folder that a file is in; None outside a checkout, or if it has none."""
    folder = os.path.dirname(os.path.abspath(file))
    while not os.path.exists(git := os.path.join(folder, ".git")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    try:
        found = _commit(_git_folder(git))
    except (OSError, ValueError):
        return None
    return found if _COMMIT.fullmatch(found) else None


def _git_folder(git: str) -> str:
    """The folder of a checkout; in a worktree or submodule, a file names it."""
    if os.path.isdir(git):
        return git
    return os.path.join(os.path.dirname(git), _read(git).removeprefix("gitdir: "))


def _commit(folder: str) -> str:
    head = _read(os.path.join(folder, "HEAD"))
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    for each in (folder, _shared(folder)):
        try:
            return _read(os.path.join(each, name))
        except FileNotFoundError:
            continue
    packed = _read(os.path.join(_shared(folder), "packed-refs")).splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")


def _shared(folder: str) -> str:
    """The folder that a worktree shares with the others."""
    try:
        return os.path.join(folder, _read(os.path.join(folder, "commondir")))
    except FileNotFoundError:
        return folder


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
