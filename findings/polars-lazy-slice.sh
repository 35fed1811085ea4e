#!/usr/bin/env bash
# polars 2.1.0: the pickle of ten rows of a LazyFrame over data in memory holds all the data; that of
# ten rows of the DataFrame does not.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet polars==2.1.0

"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import pickle

import polars

frame = polars.DataFrame({"n": range(1_000_000)})
for name, rows in {"DataFrame": frame.slice(0, 10), "LazyFrame": frame.lazy().slice(0, 10)}.items():
    size = len(pickle.dumps(rows))
    print(f"{name}: ten rows are pickled in", "over a megabyte" if size > 1e6 else "under 10 kB")
PYTHON

diff - "$work/seen" <<'SEEN'
DataFrame: ten rows are pickled in under 10 kB
LazyFrame: ten rows are pickled in over a megabyte
SEEN
