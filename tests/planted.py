"""A flow that gives its secret away in every way that there is, for whoever looks for it."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextlib
import gc
import logging
import multiprocessing
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from lokki import Secret, flow, step

HANDLER = logging.StreamHandler(sys.stderr)
STDERR, BYTES = sys.stderr, sys.stdout.buffer
POOL = ThreadPoolExecutor(1)
LOG = logging.getLogger("planted")
LATE = []
WAYS = {}


def way(function):
    WAYS[function.__name__] = function
    return function


# ---- output --------------------------------------------------------------------------------------


@way
def printed(word):
    print("printed", word)


@way
def printed_on_stderr(word):
    print("printed", word, file=sys.stderr, flush=True)


@way
def in_two_writes(word):
    sys.stdout.write(word[:5])
    sys.stdout.flush()
    sys.stdout.write(word[5:] + "\n")


@way
def without_an_end(word):
    print("\r10 %", word, end="")


@way
def in_a_long_line(word):
    print("x" * 65_530 + word + "x" * 70_000)


@way
def as_bytes(word):
    sys.stdout.buffer.write(word.encode() + b"\n")
    BYTES.write(f"{word}\n".encode())


@way
def on_the_streams_of_before(word):
    print(word, file=STDERR)
    print(word, file=sys.__stdout__)


@way
def as_repr_and_json(word):
    import json

    print(repr([word]), json.dumps({"word": word}))


# ---- logs ----------------------------------------------------------------------------------------


@way
def logged(word):
    LOG.error("logged %s", word)


@way
def logged_with_its_error(word):
    try:
        raise ValueError(word)
    except ValueError:
        LOG.exception("logged")


@way
def logged_by_a_handler_of_before(word):
    HANDLER.emit(logging.makeLogRecord({"msg": word}))


@way
def logged_wrongly(word):
    LOG.error("%d", word)


@way
def logged_by_loguru(word):
    with contextlib.suppress(ImportError):
        from loguru import logger

        logger.warning(word)


@way
def logged_by_structlog(word):
    with contextlib.suppress(ImportError):
        import structlog

        structlog.get_logger().warning("logged", word=word)


@way
def warned(word):
    warnings.warn(word, stacklevel=1)


# ---- threads and tasks ---------------------------------------------------------------------------


@way
def by_a_thread(word):
    thread = threading.Thread(target=print, args=(word,))
    thread.start()
    thread.join()


@way
def by_a_thread_that_fails(word):
    thread = threading.Thread(target=int, args=(word,))
    thread.start()
    thread.join()


@way
def by_a_low_level_thread(word):
    done = threading.Event()
    _thread.start_new_thread(lambda: (print(word), done.set()), ())
    done.wait()


@way
def by_an_executor(word):
    with ThreadPoolExecutor() as pool:
        list(pool.map(print, [word]))


@way
def by_an_executor_of_the_module(word):
    POOL.submit(print, word).result()


@way
def by_to_thread(word):
    asyncio.run(asyncio.to_thread(print, word))


@way
def by_a_task_that_fails(word):
    async def fails():
        raise ValueError(word)

    async def main():
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        del task

    asyncio.run(main())
    gc.collect()


@way
def by_a_thread_that_goes_on(word):
    def late():
        time.sleep(0.05)
        print(word)

    LATE.append(threading.Thread(target=late))
    LATE[-1].start()


# ---- processes -----------------------------------------------------------------------------------


@way
def by_a_fork(word):
    child = os.fork()
    if not child:
        print(word, flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def _by_multiprocessing(method, word):
    child = multiprocessing.get_context(method).Process(target=print, args=(word,))
    child.start()
    child.join()


@way
def by_multiprocessing(word):
    _by_multiprocessing("fork", word)


@way
def by_a_process_that_fails(word):
    child = multiprocessing.get_context("fork").Process(target=int, args=(word,))
    child.start()
    child.join()


@way
def by_a_spawned_process(word):
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:  # which has no main module of a file
        _by_multiprocessing("spawn", word)


@way
def by_a_pool_of_processes(word):
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:  # which has no semaphores
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            pool.submit(print, word).result()


# ---- errors --------------------------------------------------------------------------------------


@way
def in_an_error(word):
    raise ValueError(word)


@way
def in_the_name_of_an_error(word):
    raise type(f"No_{word}", (Exception,), {})("named")


@way
def in_a_note(word):
    error = ValueError("noted")
    error.add_note(word)
    raise error


@way
def in_a_cause(word):
    try:
        raise ValueError(word)
    except ValueError as cause:
        raise LookupError("caused") from cause


@way
def in_a_group(word):
    raise ExceptionGroup(word, [ValueError(word), TypeError(word)])


@way
def in_an_exit(word):
    raise SystemExit(word)


@way
def in_a_result_that_cannot_be_pickled(word):
    class Local:
        def __reduce__(self):
            raise ValueError(word)

    return Local()


@way
def in_the_name_of_a_type_that_cannot_be_pickled(word):
    return type(f"Local_{word}", (), {"__reduce__": lambda self: 1 / 0})()


@way
def in_a_line_of_the_traceback(word):
    exec(compile(f"raise ValueError  # {word}", f"{word}.py", "exec"))


# ---- at an end -----------------------------------------------------------------------------------


class Dying:
    def __init__(self, word):
        self.word = word

    def __del__(self):
        print(self.word)
        LOG.error(self.word)


KEPT = []


@way
def by_a_finalizer(word):
    Dying(word)
    cycle = [Dying(word)]
    cycle.append(cycle)
    del cycle
    gc.collect()


@way
def by_a_finalizer_that_fails(word):
    class Failing:
        def __del__(self):
            raise ValueError(word)

    Failing()


@way
def at_the_exit(word):
    atexit.register(print, word)
    atexit.register(print, word, file=sys.stderr)
    KEPT.append(Dying(word))


# ---- the flow ------------------------------------------------------------------------------------


@step
def ways():
    return list(WAYS)


@step
def given_away(name, word):
    return WAYS[name](word.value)


@step
async def given_away_by_async(name, word):
    print(word.value)
    LOG.error(word.value)
    await asyncio.to_thread(print, word.value)
    await asyncio.gather(asyncio.to_thread(LOG.error, word.value))
    raise TimeoutError(word.value)


@step(executor="process")
def given_away_elsewhere(name, word):
    return WAYS[name](word.value)


@step(timeout_seconds=0.2)
async def given_away_late(name, word):
    print(word.value, end="")
    await asyncio.sleep(30)


@step
def none(results):
    for thread in LATE:  # the run is not over before them
        thread.join()
    return len(results)


@flow
def planted(word: Secret[str]):
    return ways().map(given_away, tolerated_failures=1.0, batch_size=100).agg(none)


@flow
def planted_elsewhere(word: Secret[str]):
    return ways().map(given_away_elsewhere, tolerated_failures=1.0).agg(none)


@flow
def planted_by_async(word: Secret[str]):
    return ways().map(given_away_by_async, tolerated_failures=1.0).agg(none)


@flow
def planted_late(word: Secret[str]):
    return ways().map(given_away_late)


@flow
def planted_in_a_body(word: Secret[str]):
    raise RuntimeError(word.value)
