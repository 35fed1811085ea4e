"""The work that every peer does: ``python PEER.py WORKLOAD COUNT [VARIANT]``.

W1: COUNT integers, ``x + 1`` each, and their sum. W2: COUNT naps of 50 ms, 50 at a time. W3: one
trivial step. W4: 64 arrays of 1 MiB of random bytes, and the sum of their lengths.

A peer's script ends with `report` or `tell`, which print a line ``RESULT {json}``. It runs in
the peer's environment, in a directory of its own, and imports nothing of the project.
"""

import json
import os
import sys
import time
from collections.abc import Callable

WORKLOAD, COUNT = sys.argv[1], int(sys.argv[2])
VARIANT = sys.argv[3] if len(sys.argv) > 3 else ""
CONCURRENCY = 50 if WORKLOAD == "W2" else 16
ARRAYS, MIB, NAP = 64, 1 << 20, 0.05


def source() -> list:
    if WORKLOAD == "W3":
        return [1]
    if WORKLOAD == "W4":
        return [os.urandom(MIB) for _ in range(ARRAYS)]
    return list(range(COUNT))


def work(x):
    if WORKLOAD == "W2":
        time.sleep(NAP)
        return 1
    return len(x) if WORKLOAD == "W4" else x + 1


def expected() -> int:
    return {"W1": COUNT * (COUNT + 1) // 2, "W2": COUNT, "W3": 2, "W4": ARRAYS * MIB}[WORKLOAD]


def report(run: Callable[[], int]) -> None:
    """Time ``run`` alone, without imports and without starting the peer, and tell of it."""
    began = time.perf_counter()
    result = run()
    tell(result, time.perf_counter() - began)


def tell(result: int, seconds: float) -> None:
    """Check the result, and say how long it took."""
    if result != expected():
        sys.exit(f"wrong result: {result!r:.200}, not {expected()}")
    print("RESULT " + json.dumps({"seconds": seconds}), flush=True)
