#!/usr/bin/env bash
# cloudpickle 3.1.3: an open text file, which pickle refuses, is sent as an io.StringIO of its content,
# and a memoryview as bytes, both without a word.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet cloudpickle==3.1.3
printf 'one\ntwo\n' >"$work/lines.txt"

"$work/venv/bin/python" - "$work/lines.txt" <<'PYTHON' | tee "$work/seen"
import pickle
import sys

import cloudpickle

with open(sys.argv[1]) as file:
    file.readline()
    for name, value in {"open file": file, "memoryview": memoryview(b"abc")}.items():
        try:
            pickle.dumps(value)
        except TypeError:
            print(f"{name}: refused by pickle")
        read = pickle.loads(cloudpickle.dumps(value))
        print(f"{name}: {type(value).__name__} becomes {type(read).__name__}")
PYTHON

diff - "$work/seen" <<'SEEN'
open file: refused by pickle
open file: TextIOWrapper becomes StringIO
memoryview: refused by pickle
memoryview: memoryview becomes bytes
SEEN
