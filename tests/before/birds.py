"""The flow whose runs and build lokki 0.1.0 has made: see README.md."""

import os

import lokki
from lokki import flow, step


@step
def numbers(count: int = 6) -> list[int]:
    return list(range(count))


@step
def double(number: int) -> int:
    return 2 * number


@step(retry={"retries": 1, "delay": 0})
def check(number: int) -> int:
    if number == 8 and "FIXED" not in os.environ:
        raise ValueError(f"{number} is not right")
    print("checked", number)
    return number


@step
def total(found: list[int]) -> int:
    return sum(found)


@flow
def birds(count: int = 6):
    return numbers(count).map(double).next(check).agg(total)


@flow
def plain(count: int = 6):
    return numbers(count).map(double)


if __name__ == "__main__":
    lokki.main(birds)
