"""What was handed out of the standard streams before a run is captured, too."""

from __future__ import annotations

import codecs
import io
import logging
import sys

import pytest
import structlog
from capturing import attached, calling, texts
from loguru import logger

from lokki import output


@pytest.fixture
def standard(monkeypatch):
    """Makes standard streams like those of a process; gives what is below them."""

    def make(**settings):
        below = {}
        for name in ("stdout", "stderr"):
            below[name] = io.BytesIO()
            stream = io.TextIOWrapper(below[name], "utf-8", **settings)
            monkeypatch.setattr(sys, name, stream)
        return below

    return make


def written(below):
    sys.stdout.flush()
    sys.stderr.flush()
    return [stream.getvalue().decode().splitlines() for stream in below.values()]


def test_handlers_and_loggers_that_were_there_before(standard):
    below = standard(line_buffering=True)
    log = logging.Logger("apart")
    log.addHandler(logging.StreamHandler(sys.stderr))
    sink = logger.add(sys.stderr, format="{message}")
    structured = structlog.PrintLoggerFactory(sys.stdout)
    held, bytes_below = sys.stderr, sys.stdout.buffer

    def step():
        log.warning("swordfish by logging")
        logger.warning("swordfish by loguru")
        structured().msg("swordfish by structlog")
        print("swordfish by print", file=held)
        bytes_below.write(b"swordfish in bytes\n")
        held.writelines(["swordfish ", "in lines\n"])

    with attached() as lines:
        calling(step, secrets=("swordfish",))
        logger.remove(sink)
    on_stderr = ["*** by logging", "*** by loguru", "*** by print", "*** in lines"]
    on_stdout = ["*** by structlog", "*** in bytes"]
    assert written(below) == [on_stdout, on_stderr]
    assert [line[4:] for line in lines if line[6] in on_stdout] == [
        ("INFO", "stdout", line) for line in on_stdout
    ]
    assert {line[4:6] for line in lines if line[6] in on_stderr} == {
        ("WARNING", "apart"), ("WARNING", "stderr"),
    }  # fmt: skip
    assert [line for line in texts(lines) if line == "*** by logging"] == ["*** by logging"]


def test_a_method_that_was_taken_before(standard):
    below = standard(write_through=True)
    held = structlog.PrintLogger(sys.stdout)  # which keeps the stream's `write`
    with attached() as lines:
        calling(lambda: held.msg("swordfish"), secrets=("swordfish",))
    assert texts(lines) == ["***"]
    assert written(below) == [["***"], []]


def test_the_streams_of_before_the_programs_own(monkeypatch, standard):
    below = standard(line_buffering=True)
    monkeypatch.setattr(sys, "__stdout__", sys.stdout)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with attached() as lines:
        calling(lambda: (print("a", file=sys.__stdout__), print("b")))
        own = sys.stdout.getvalue()
    assert texts(lines) == ["a", "b"]
    assert own == "b\n"
    assert below["stdout"].getvalue() == b"a\n"


def test_a_stream_whose_bytes_the_program_has_taken(monkeypatch, standard):
    below = standard()
    monkeypatch.setattr(sys, "__stdout__", sys.stdout)
    monkeypatch.setattr(sys, "stdout", codecs.getwriter("utf-8")(sys.stdout.detach()))
    with attached() as lines:
        calling(lambda: print("caf\u00e9"))
    assert texts(lines) == ["caf\u00e9"]
    assert below["stdout"].getvalue() == "caf\u00e9\n".encode()


def test_bytes_that_are_no_text_are_shown_as_they_are(standard):
    below = standard()
    picture = bytes(range(256))
    with attached() as lines:
        calling(lambda: sys.stdout.buffer.write(picture))
        print("caf\u00e9")
    sys.stdout.flush()
    assert below["stdout"].getvalue() == picture + "caf\u00e9\n".encode()
    assert len(lines) == 2


def test_what_was_written_before_the_run_is_not_the_calls(standard):
    below = standard()
    print("of the program", end=" ")
    with attached() as lines:
        calling(lambda: print("of the call", flush=True))
    assert texts(lines) == ["of the call"]
    assert written(below) == [["of the program of the call"], []]


def test_a_stream_that_the_program_has_changed_is_given_back_so(standard, monkeypatch):
    standard()
    own, write = [], sys.stdout.write
    sys.stdout.write = lambda text: (own.append(text), write(text))[1]
    changed = sys.stdout.write
    with attached() as lines:
        calling(lambda: print("hello"))
    assert sys.stdout.write is changed
    assert texts(lines) == ["hello"]
    assert "".join(own) == "hello\n"


def test_a_process_of_lokkis_own_shows_no_secret_whoever_writes(standard):
    below = standard(line_buffering=True)
    output.mask(("swordfish",))
    print("swordfish outside of calls")
    sys.stderr.buffer.write(b"swordfish\n")
    with attached() as lines:
        calling(lambda: print("within one"))
        print("swordfish while a run is attached")
    logging.lastResort.handle(logging.makeLogRecord({"msg": "swordfish", "levelno": 40}))
    with output.as_it_is():
        print("swordfish, the result")
    print("after it: swordfish")
    assert texts(lines) == ["within one"]
    assert written(below) == [
        [
            "*** outside of calls", "within one", "*** while a run is attached",
            "swordfish, the result", "after it: ***",
        ],
        ["***", "***"],
    ]  # fmt: skip


@pytest.mark.parametrize("writes", [["a sword", "fish\n"], ["sword\r", "x\n"], ["s", "wordfish\n"]])
def test_the_beginning_of_a_secret_is_not_shown_before_the_rest(writes):
    shown = io.StringIO()

    def step():
        for text in writes:
            print(text, end="", flush=True)

    with attached(echo=shown) as lines:
        calling(step, secrets=("swordfish",))
    assert "".join(writes).replace("swordfish", "***") == shown.getvalue()
    assert "swordfish" not in texts(lines)[0]
