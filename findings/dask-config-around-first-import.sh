#!/usr/bin/env bash
# distributed 2026.8.0: if distributed is imported for the first time inside
# `with dask.config.set({"distributed.…": …})`, all its defaults are gone when the block ends, for the
# whole process: they had been added to what the block takes back.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet distributed==2026.8.0
cat >look.py <<'PYTHON'
import sys

import dask

NAME = "distributed.scheduler.allowed-failures"

if sys.argv[1] == "before":
    import distributed  # noqa: F401
with dask.config.set({"distributed.comm.timeouts.connect": "5s"}):
    import distributed  # noqa: F401

    print("inside the block:", dask.config.get(NAME, "no default"))
print("after it:", dask.config.get(NAME, "no default"))
PYTHON
for imported in before inside; do
    echo "first imported $imported the block"
    HOME=$work venv/bin/python look.py "$imported"
done | tee seen

diff - seen <<'SEEN'
first imported before the block
inside the block: 3
after it: 3
first imported inside the block
inside the block: 3
after it: no default
SEEN
