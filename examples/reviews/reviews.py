"""Have a language model say which reviews are good: a batch of calls, some of which may fail.

The model is this folder's own stand-in, `stub_llm.py`, unless `LLM_URL` names an API of the same
form; the key is a secret.
"""

import asyncio
import json
import os
from collections import Counter
from functools import cache
from pathlib import Path

import httpx
import stub_llm

from lokki import RetryLater, Secret, current, flow, main, step

REVIEWS = Path(__file__).with_name("reviews.jsonl")
PROMPT = 'Answer with JSON alone: {"mood": "good"}, "bad" or "neutral".'


@cache
def client_of(loop: asyncio.AbstractEventLoop) -> httpx.AsyncClient:
    """One client for all calls, with the connections that it keeps open."""
    return httpx.AsyncClient(timeout=60)


@step
def read_reviews(file: Path):
    return [json.loads(line) for line in file.read_text().splitlines()]


@step(retry={"retries": 2, "delay": 0.1, "exceptions": (httpx.TransportError, ValueError)})
async def classify(review: dict, model: str, api_key: Secret[str]):
    """The mood of a review. An answer that is no JSON (a ValueError) is asked for again."""
    response = await client_of(asyncio.get_running_loop()).post(
        f"{os.environ.get('LLM_URL') or stub_llm.started()}/chat/completions",
        headers={"Authorization": f"Bearer {api_key.value}"},
        json={
            "model": model,
            "messages": [
                {"role": "system", "content": PROMPT},
                {"role": "user", "content": review["text"]},
            ],
        },
    )
    if response.status_code == 429:
        raise RetryLater(float(response.headers.get("Retry-After", 5)), "rate limit reached")
    response.raise_for_status()
    answer = response.json()
    mood = json.loads(answer["choices"][0]["message"]["content"])["mood"]
    return {**review, "mood": mood, "tokens": answer["usage"]["total_tokens"]}


@step
def report(answers: list[dict]):
    """How many reviews are of which mood, what that took, and which have no answer."""
    moods = Counter(answer["mood"] for answer in answers)
    counts = ", ".join(f"{count} {mood}" for mood, count in sorted(moods.items()))
    tokens = sum(answer["tokens"] for answer in answers)
    return f"{counts}; {tokens} tokens; unanswered: {[each.index for each in current().failures]}"


@flow
def reviews(api_key: Secret[str], model: str = "small", file: Path = REVIEWS):
    """Classify reviews; a tenth of them may stay without an answer."""
    return read_reviews().map(classify, rate_limit="100/s", tolerated_failures=0.1).agg(report)


if __name__ == "__main__":
    main(reviews)
