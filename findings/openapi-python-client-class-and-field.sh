#!/usr/bin/env bash
# openapi-python-client 0.29.1: in the class that it makes of a schema `Runs` with a list `runs`, one
# variable is both the list and the object, which mypy refuses; that of `RunList` it takes.
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openapi-python-client==0.29.1 mypy==1.18.2
cd "$work"
echo "post_hooks: []" >config.yml

for name in Runs RunList; do
    cat >openapi.json <<JSON
{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {},
 "components": {"schemas": {
   "Run": {"type": "object", "properties": {"id": {"type": "string"}}},
   "$name": {"type": "object", "required": ["runs"], "properties": {
     "runs": {"type": "array", "items": {"\$ref": "#/components/schemas/Run"}}}}}}}
JSON
    venv/bin/openapi-python-client generate --path openapi.json --config config.yml --meta none \
        --output-path "client_$name" >log
    echo "$name: $(venv/bin/mypy "client_$name" | tail -n 1 | grep -o -e Found -e Success)"
done | tee seen

diff - seen <<'SEEN'
Runs: Found
RunList: Success
SEEN
