#!/usr/bin/env bash
# pyarrow 26.0.1: written as an IPC stream, ten rows of a string column take as much as they hold, but ten
# rows of a string_view column take all the data of the whole column; nbytes counts it, too.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pyarrow==26.0.1

"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import pyarrow

texts = [f"a text that is too long to be in the view, number {n}" for n in range(100_000)]


def rounded(size):
    return "over a megabyte" if size > 1e6 else "under 10 kB"


for kind in (pyarrow.string(), pyarrow.string_view()):
    rows = pyarrow.table({"text": pyarrow.array(texts, kind)}).slice(0, 10)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    print(f"{kind}: ten rows: stream {rounded(sink.getvalue().size)}, nbytes {rounded(rows.nbytes)}")
PYTHON

diff - "$work/seen" <<'SEEN'
string: ten rows: stream under 10 kB, nbytes under 10 kB
string_view: ten rows: stream over a megabyte, nbytes over a megabyte
SEEN
