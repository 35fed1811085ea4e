#!/usr/bin/env bash
# uv 0.13.9 on Linux with glibc: `uv run` starts a program with signals 32 and 33 ignored, which glibc
# keeps for itself and no program can set (nptl(7)); glibc handles 33 from the second thread on, so that
# SigIgn in /proc/self/status changes in the program's life. Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet uv==0.13.9
cat >look.py <<'PYTHON'
import threading

def ignored():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("SigIgn"))
    mask = int(line.split()[1], 16)
    return [signal for signal in (32, 33) if mask >> (signal - 1) & 1]

before = ignored()
thread = threading.Thread(target=print, args=("",), kwargs={"end": ""})
thread.start()
thread.join()
print(before, ignored())
PYTHON
python=$PWD/venv/bin/python
{
    echo "python: $("$python" look.py)"
    echo "uv run: $(venv/bin/uv run --quiet --no-project --python "$python" look.py)"
} | tee seen

diff - seen <<'SEEN'
python: [] []
uv run: [32, 33] [32]
SEEN
