#!/usr/bin/env bash
# fastapi 0.165.0: for a router that is included under a prefix, the route in a request's scope has a
# path without the prefix, which metrics and middleware then report; in 0.115.14, or with the prefix in
# the router itself, the path is complete. Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >ask.py <<'PYTHON'
import asyncio
from fastapi import APIRouter, FastAPI, Request

def path(request: Request):
    return request.scope["route"].path_format

included, own = APIRouter(), APIRouter(prefix="/runs/{run}")
included.add_api_route("/events", path)
own.add_api_route("/logs", path)
app = FastAPI()
app.include_router(included, prefix="/runs/{run}")
app.include_router(own)

async def ask(url):
    sent = []
    async def receive(): return {"type": "http.request"}
    async def send(message): sent.append(message)
    scope = {"type": "http", "method": "GET", "path": url, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return sent[1]["body"].decode()

for url in ("/runs/1/events", "/runs/1/logs"):
    print(url, asyncio.run(ask(url)))
PYTHON

for version in 0.115.14 0.165.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet "fastapi==$version"
    echo "$version"
    "$version/bin/python" ask.py
done | tee seen

diff - seen <<'SEEN'
0.115.14
/runs/1/events "/runs/{run}/events"
/runs/1/logs "/runs/{run}/logs"
0.165.0
/runs/1/events "/events"
/runs/1/logs "/runs/{run}/logs"
SEEN
