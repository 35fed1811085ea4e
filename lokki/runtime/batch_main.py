"""The entry point of every Batch job of a flow: ``python -m lokki.runtime.batch_main``.

The event is in ``LOKKI_EVENT``; `handler.py`, beside the flow, names the flow. Exits with `FAILED`
when the step has failed for good, so that Batch does not retry it.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from importlib import import_module

from lokki.errors import LokkiError
from lokki.runtime.event import EVENT, FAILED, REDRIVEN, parse
from lokki.runtime.invocation import Invocation
from lokki.runtime.work import StepFailed


def main() -> int:
    try:
        invocation: Invocation = import_module("handler").handler.invocation
        attempt = int(os.environ.get("AWS_BATCH_JOB_ATTEMPT", "1"))
        redriven = int(os.environ.get(REDRIVEN, "0"))
        numbers = {"attempt": attempt - 1, "redriven": redriven}
        event = parse({**json.loads(os.environ[EVENT]), **numbers})
        with closing(invocation):
            invocation.run(event, holds=True)
    except StepFailed as failed:
        print(failed.failure.traceback or str(failed), file=sys.stderr)
        return FAILED
    except LokkiError as error:
        print(f"Error: {error}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
