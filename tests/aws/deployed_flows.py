"""A flow that is deployed."""

from __future__ import annotations

from lokki import flow, step


@step
def get_names():
    return ["ann", "bob"]


@step(timeout_seconds=60)
def greet(name, greeting):
    return f"{greeting} {name}"


@step
def together(greetings):
    return ", ".join(greetings)


@flow
def greeting(word: str = "hello"):
    return get_names().map(greet, greeting=word).agg(together)
