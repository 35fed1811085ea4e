#!/usr/bin/env bash
# cloudpickle 3.1.3: of what a script defines, it sends plain functions by value, but functions under
# lru_cache and NewTypes by reference: they pickle, and another process cannot load them.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet cloudpickle==3.1.3

cat >"$work/script.py" <<'PYTHON'
import functools
import subprocess
import sys
import typing

import cloudpickle

LOAD = "import pickle, sys; print('loaded', type(pickle.load(sys.stdin.buffer)).__name__)"


def plain(n):
    return n * n


@functools.lru_cache
def cached(n):
    return n * n


UserId = typing.NewType("UserId", int)

for name, value in {"plain": plain, "cached": cached, "UserId": UserId}.items():
    done = subprocess.run(
        [sys.executable, "-c", LOAD], input=cloudpickle.dumps(value), capture_output=True
    )
    shown = (done.stdout or done.stderr).decode().splitlines()[-1]
    print(f"{name}: {shown.partition(' on <module')[0]}")
PYTHON
"$work/venv/bin/python" "$work/script.py" | tee "$work/seen"

diff - "$work/seen" <<'SEEN'
plain: loaded function
cached: AttributeError: Can't get attribute 'cached'
UserId: AttributeError: Can't get attribute 'UserId'
SEEN
