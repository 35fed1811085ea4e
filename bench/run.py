"""All benchmarks, one after the other: ``uv run python bench/run.py``.

Exits with 1 when a script fails or the kill campaign finds a broken rule; how long something
takes never fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from timing import machine, script

SUBJECTS = (
    "map", "processes", "growth", "sleep", "payloads", "slices", "startup", "resume", "terminal",
    "server", "aws", "quota", "kill", "compare",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="may be given again")
    parser.add_argument("--no-peers", action="store_true", help="leave the other projects out")
    parser.add_argument("--quick", action="store_true", help="small sizes: only to see it work")
    parser.add_argument("--repeat", type=int, help="how often each is measured")
    options = parser.parse_args()
    passed_on = ["--no-machine"]
    if options.quick:
        passed_on.append("--quick")
    if options.repeat:
        passed_on += ["--repeat", str(options.repeat)]
    print(machine(), end="\n\n", flush=True)
    failed = []
    for subject in options.only or SUBJECTS:
        if subject == "compare" and options.no_peers:
            continue
        peers = ["--no-peers"] if options.no_peers and subject == "server" else []
        # Each in a process of its own: no heap, thread or cache of one is there for the next.
        if subprocess.run([*script(f"{subject}.py"), *passed_on, *peers]).returncode:
            failed.append(subject)
    for subject in failed:
        print(f"FAILED: {subject}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
