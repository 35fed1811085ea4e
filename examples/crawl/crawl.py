"""Crawl a web API: its list page by page, then each entry, with one client and a limited rate.

The API is this folder's own, `birds_api.py`, unless `--url` names another one.
"""

import asyncio
from functools import cache

import birds_api
import httpx

from lokki import RetryLater, current, flow, main, step


@cache
def client_of(loop: asyncio.AbstractEventLoop) -> httpx.AsyncClient:
    """One client for all calls: it keeps connections open, and no more than twenty of them."""
    return httpx.AsyncClient(timeout=10, limits=httpx.Limits(max_connections=20))


async def get(url: str):
    """The JSON at a URL. Raises RetryLater where the API asks for patience, HTTPError."""
    response = await client_of(asyncio.get_running_loop()).get(url)
    if response.status_code == 429:
        raise RetryLater(float(response.headers["Retry-After"]), "too many requests")
    response.raise_for_status()
    return response.json()


@step(retry={"retries": 3, "exceptions": (httpx.TransportError,)})
async def list_birds(url: str):
    """The ids of all birds. A generator: the list is recorded when it is complete."""
    base, after = url or birds_api.started(), 0
    while after is not None:
        page = await get(f"{base}/birds?after={after}")
        for bird in page["birds"]:
            yield f"{base}/birds/{bird}"
        after = page["next"]


@step(retry={"retries": 3, "exceptions": (httpx.TransportError,)}, timeout_seconds=30)
async def fetch(url: str):
    return await get(url)


@step
def summary(birds: list[dict]):
    gone = [failure.index for failure in current().failures]
    return f"{len(birds)} birds with {sum(bird['wings'] for bird in birds)} wings; gone: {gone}"


@flow
def crawl(url: str = ""):
    """Crawl the API; one entry in twenty may be gone."""
    return list_birds().map(fetch, rate_limit="200/s", tolerated_failures=0.05).agg(summary)


if __name__ == "__main__":
    main(crawl)
