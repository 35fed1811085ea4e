#!/usr/bin/env bash
# distributed 2026.8.0 with tblib 3.2.2: after `import distributed`, pickle writes exceptions in another
# way in the whole process, also for those who do not use Dask: by a function of tblib. A file with such
# a pickle cannot be read where tblib is not installed; without the import, it can.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv with
python3 -m venv without
with/bin/pip install --quiet distributed==2026.8.0 tblib==3.2.2
cat >write.py <<'PYTHON'
import pickle
import sys

if sys.argv[1] == "distributed":
    import distributed  # noqa: F401

with open("value", "wb") as file:
    pickle.dump({"error": ValueError("no such bird")}, file)
PYTHON
cat >read.py <<'PYTHON'
import pickle

with open("value", "rb") as file:
    try:
        print("read:", pickle.load(file))
    except Exception as error:
        print(f"not read: {type(error).__name__}: {error}")
PYTHON
for imported in nothing distributed; do
    echo "written with $imported imported"
    with/bin/python write.py "$imported"
    without/bin/python read.py
done | tee seen

diff - seen <<'SEEN'
written with nothing imported
read: {'error': ValueError('no such bird')}
written with distributed imported
not read: ModuleNotFoundError: No module named 'tblib'
SEEN
