"""Chains that type checkers must refuse: an error on each marked line, and on no other."""

from __future__ import annotations

from lokki import MapBlock, flow, step


@step
def numbers(limit: int = 3) -> list[int]:
    return list(range(limit))


@step
def single() -> int:
    return 1


@step
def doubled(number: int) -> int:
    return number * 2


@step
def scaled(number: int, factor: float = 1.0) -> float:
    return number * factor


@step
def shouted(word: str) -> str:
    return word.upper()


@step
def joined(words: list[str]) -> str:
    return ", ".join(words)


def plain(number: int) -> int:
    return number


numbers(limit="5")  # error
numbers(limits=5)  # error
single().map(doubled)  # error
numbers().map(shouted)  # error
numbers().map(plain)  # error
numbers().agg(doubled)  # error
numbers().map(scaled, factor="3")  # error
numbers().map(scaled, facto=3.0)  # error
numbers().map(doubled, concurrency_limit="5")  # error
numbers().map(doubled).agg(joined)  # error
numbers().map(doubled).next(shouted)  # error
numbers().map(doubled).next(doubled, factor=2)  # error
numbers().next(doubled)  # error
numbers().map(numbers().map(doubled))  # error
step(retries=3)  # error
step(job_type="spark")  # error
step(executor="fiber")  # error


@flow  # error
def no_chain(limit: int) -> int:
    return limit


@flow
def fine(limit: int) -> MapBlock[int]:
    return numbers(limit).map(doubled)


fine(limit="5")  # error
fine(5).missing  # error
