"""What steps print and log while a run is attached, and what the program sees of it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import sys
import threading
import time

import pytest
from capturing import attached, calling, texts

from lokki import output
from lokki.call import current


@contextlib.contextmanager
def no_logging():
    """The root logger as a program without any logging set-up has it."""
    root = logging.root
    handlers, level = root.handlers, root.level
    root.handlers = []
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        root.handlers = handlers
        root.setLevel(level)


# ---- lines ---------------------------------------------------------------------------------------


def test_each_line_has_the_call_that_wrote_it(capsys):
    def step():
        print("one\ntwo")
        print("warn", file=sys.stderr)
        print()
        sys.stdout.writelines(["three\n", "four"])

    with attached() as lines:
        before = time.time()
        calling(step, attempt=2)
        print("not in a step")
    assert [line[1:] for line in lines] == [
        ("work", 7, 2, "INFO", "stdout", "one"),
        ("work", 7, 2, "INFO", "stdout", "two"),
        ("work", 7, 2, "WARNING", "stderr", "warn"),
        ("work", 7, 2, "INFO", "stdout", ""),
        ("work", 7, 2, "INFO", "stdout", "three"),
        ("work", 7, 2, "INFO", "stdout", "four"),
    ]
    assert all(before <= line[0] <= time.time() for line in lines)
    assert capsys.readouterr() == ("one\ntwo\n\nthree\nfournot in a step\n", "warn\n")


@pytest.mark.parametrize(
    ("written", "recorded"),
    [
        (["\r10 %", "\r20 %", "\r30 %", "\n"], ["30 %"]),
        (["10 %\r", "20 %\r", "30 %\r", "\n"], ["30 %"]),
        (["10 %\r20 %\r30 %"], ["30 %"]),
        (["\r10", " %", "\r", "20", " %"], ["20 %"]),
        (["windows\r\n", "lines\r", "\n"], ["windows", "lines"]),
        (["\r10 %", "\r" + 20 * " " + "\r", "done\n"], ["done"]),
        (["\r10 %", "\r" + 20 * " " + "\r"], []),
        (["\r", "\r\r"], []),
        (["a", "", "b\nc", "d\n", "e"], ["ab", "cd", "e"]),
    ],
)
def test_a_carriage_return_starts_the_line_again(written, recorded, capsys):
    with attached() as lines:
        calling(lambda: [sys.stderr.write(text) for text in written])
    assert texts(lines) == recorded
    assert capsys.readouterr().err == "".join(written)


def test_a_carriage_return_is_shown_at_once():
    shown, seen = io.StringIO(), []

    def step():
        for percent in (1, 2):
            print(f"\r{percent} %", end="")
            seen.append(shown.getvalue())
        print()

    with attached(echo=shown) as lines:
        calling(step)
    assert seen == ["\r1 %", "\r1 %\r2 %"]
    assert texts(lines) == ["2 %"]


def test_long_log_messages_are_cut_off():
    with attached() as lines:
        calling(lambda: logging.getLogger("mine").warning("m" * 1_000_000))
    assert texts(lines) == ["m" * 10_000 + "…"]


def test_long_lines_are_cut_off():
    def step():
        print("x" * 10_000)
        print("y" * 10_001)
        for _ in range(3000):
            print("12345", end="")
        print("\rshort")

    with attached() as lines:
        calling(step)
    assert texts(lines) == ["x" * 10_000, "y" * 10_000 + "…", "short"]


@pytest.mark.parametrize("start", ["\r", ""])
def test_many_writes_without_a_line_end_are_one_line(start):
    with open(os.devnull, "w") as echo, attached(echo=echo) as lines:
        calling(lambda: [sys.stderr.write(f"{start}{i:100}") for i in range(20_000)] and None)
    (text,) = texts(lines)
    assert len(text) == 100 if start else 10_001


def test_a_secret_that_is_printed_in_two_writes_is_not_shown():
    echo = io.StringIO()

    def step():
        print("a sword", end="")
        print("fish", "b")
        sys.stdout.write("sword")
        sys.stdout.write("fish")

    with attached(echo=echo) as lines:
        calling(step, secrets=("swordfish",))
    assert texts(lines) == ["a *** b", "***"]
    assert echo.getvalue() == "a *** b\n***"


@pytest.mark.parametrize("before", range(65_520, 65_540))
def test_a_secret_where_a_long_line_is_shown_in_parts_is_not_shown(before):
    secret = "k3y-for-the-door"

    def step():
        print("x" * before + secret + "yyyy", end="")
        print("z" * 100_000)

    shown = io.StringIO()
    with attached(echo=shown) as lines:
        calling(step, secrets=(secret,))
    assert shown.getvalue() == "x" * before + "***yyyy" + "z" * 100_000 + "\n"
    assert texts(lines) == ["x" * 10_000 + "…"]


def test_a_line_is_not_cut_off_within_a_secret():
    with attached(echo=io.StringIO()) as lines:
        calling(lambda: print("x" * 9_995 + "swordfish" * 3), secrets=("swordfish",))
        calling(lambda: print("x" * 9_995 + "swordfish" * 1), secrets=("swordfish",))
    assert "sword" not in "".join(texts(lines))
    assert texts(lines)[1] == "x" * 9_995 + "***"


def test_text_that_the_stream_cannot_encode_is_recorded_and_shown_escaped():
    strict = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(strict), attached() as lines:
        calling(lambda: print("\ud800", end=""))
        calling(lambda: print("\ud801"))
    assert texts(lines) == ["\ud800", "\ud801"]
    strict.flush()
    assert strict.buffer.getvalue() == b"\\ud800\\ud801\n"


def test_the_stream_that_output_is_shown_on_does_not_fail_a_step(capsys):
    echo = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    with attached(echo=echo) as lines:
        calling(lambda: print("caf\u00e9 \ud800"))
        assert echo.buffer.getvalue() == b"caf\\xe9 \\ud800\n"
        echo.close()
        calling(lambda: print("closed"))
    assert texts(lines) == ["caf\u00e9 \ud800", "closed"]
    assert capsys.readouterr().out == ""


def test_writing_what_is_no_text_raises_as_it_always_did():
    with attached() as lines, pytest.raises(TypeError):
        calling(lambda: sys.stdout.write(5))
    assert lines == []


# ---- the standard streams ------------------------------------------------------------------------


def test_other_attributes_are_those_of_the_real_stream():
    real = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")

    def step():
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
        assert isinstance(sys.stdout, io.TextIOBase)
        assert not hasattr(sys.stdout, "no_such_attribute")
        return sys.stdout.encoding, sys.stdout.errors, sys.stdout.buffer, sys.stdout.closed

    with contextlib.redirect_stdout(real), attached():
        assert calling(step) == ("latin-1", "replace", real.buffer, False)
        assert sys.stdout is real
    assert real.line_buffering
    assert not real.closed
    assert not {"write", "flush"} & vars(real).keys()


def test_what_stands_in_for_a_stream_of_another_kind_has_its_attributes():
    with contextlib.redirect_stdout(io.StringIO()) as own, attached() as lines:
        assert isinstance(sys.stdout, io.TextIOBase)
        assert pickle.loads(pickle.dumps(sys.stdout)) is sys.stdout
        calling(lambda: print("hello"))
        assert sys.stdout.getvalue() == "hello\n"
    assert own.getvalue() == "hello\n"
    assert texts(lines) == ["hello"]


def test_a_redirection_over_the_end_of_a_run_leaves_nothing_doubled(capsys):
    real = sys.stdout
    with attached():
        redirection = contextlib.redirect_stdout(io.StringIO())
        own = redirection.__enter__()
        calling(lambda: print("to the program"))
    assert sys.stdout is own  # it is the program's, not ours to take away
    redirection.__exit__(None, None, None)
    with attached() as lines:
        calling(lambda: print("hello"))
    assert texts(lines) == ["hello"]
    assert sys.stdout is real
    assert own.getvalue() == "to the program\n"
    assert capsys.readouterr().out == "hello\n"


def test_a_redirection_over_the_start_of_a_run(capsys):
    real = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()) as own:
        lines = []
        output.attach("run-1", lines.append)
        calling(lambda: print("inside"))
    assert sys.stdout is real
    output.detach("run-1")
    assert sys.stdout is real
    assert (texts(lines), own.getvalue()) == (["inside"], "inside\n")


def test_a_replacement_that_writes_to_the_stream_before_it_records_once(monkeypatch, capsys):
    class Tee(io.TextIOBase):
        def __init__(self, stream):
            self.stream = stream
            self.kept = []

        def write(self, text):
            self.kept.append(text)
            return self.stream.write(text)

    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with attached():
        sys.stdout = tee = Tee(sys.stdout)
    assert sys.stdout is tee
    with attached() as lines:
        calling(lambda: print("hello"))
    assert texts(lines) == ["hello"]
    assert sys.stdout is tee
    assert capsys.readouterr().out == "hello\n"


def test_a_program_without_standard_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with attached() as lines:
        calling(lambda: print("nowhere"))
        assert sys.stdout is None
    assert lines == []


# ---- logging -------------------------------------------------------------------------------------


def test_basic_config_of_a_step_does_what_it_does_without_a_run():
    target = io.StringIO()

    def step():
        logging.basicConfig(level=logging.INFO, format="MINE %(message)s", stream=target)
        logging.getLogger("mine").info("hello %d", 5)

    with no_logging() as root, attached() as lines:
        assert root.handlers == []
        calling(step)
        assert len(root.handlers) == 1
    assert [line[4:] for line in lines] == [("INFO", "mine", "hello 5")]
    assert target.getvalue() == "MINE hello 5\n"


def test_a_handler_on_a_standard_stream_does_not_record_twice(capsys):
    def step():
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        logging.getLogger("mine").info("hello")

    with no_logging(), attached() as lines:
        calling(step)
        logging.getLogger("mine").info("not in a step")
        output.detach("run-1")
        logging.getLogger("mine").info("after the run")
    assert [line[4:] for line in lines] == [("INFO", "mine", "hello")]
    assert capsys.readouterr().err == "hello\nnot in a step\nafter the run\n"


def test_a_warning_without_a_logging_set_up_reaches_stderr_once(capsys):
    def step():
        logging.getLogger("mine").warning("careful")
        logging.getLogger("mine").debug("not enabled")

    with no_logging(), attached() as lines:
        calling(step)
    assert [line[4:] for line in lines] == [("WARNING", "mine", "careful")]
    assert capsys.readouterr().err == "careful\n"


def test_info_of_the_flows_own_code_is_recorded_and_shown_nowhere(capsys):
    shown = io.StringIO()

    def step():
        log = logging.getLogger("mine.part")
        log.info("hello %d", 5)
        log.debug("not this")
        logging.LoggerAdapter(log, {}).info("adapted")
        logging.info("of the root")
        logging.getLogger("library").info("below")

    with no_logging() as root, attached() as lines:
        root.addHandler(logging.StreamHandler(shown))
        calling(step)
        logging.getLogger("mine").info("not in a step")
        assert not logging.getLogger("mine").isEnabledFor(logging.INFO)
    assert [line[4:] for line in lines] == [
        ("INFO", "mine.part", "hello 5"),
        ("INFO", "mine.part", "adapted"),
        ("INFO", "root", "of the root"),
        ("INFO", "library", "below"),
    ]
    assert (shown.getvalue(), capsys.readouterr().err) == ("", "")
    assert not logging.getLogger("mine").isEnabledFor(logging.INFO)


def test_info_of_a_library_is_not_recorded():
    library = os.path.join(os.path.dirname(os.__file__), "site-packages", "birds.py")
    scope = {}
    exec(compile("def sing(log): log.info('tweet')", library, "exec"), scope)

    def step():
        scope["sing"](logging.getLogger("birds"))
        logging.getLogger("birds").info("mine")

    with no_logging(), attached() as lines:
        calling(step)
    assert texts(lines) == ["mine"]


@pytest.mark.parametrize("level", [logging.ERROR, logging.INFO, logging.DEBUG])
@pytest.mark.parametrize("name", ["", "mine", "mine.part"])
def test_a_level_that_somebody_has_set_holds(name, level):
    shown = io.StringIO()

    def step():
        for number, say in ((20, logging.Logger.info), (10, logging.Logger.debug)):
            say(logging.getLogger("mine.part"), number)

    logger = logging.getLogger(name)
    before = logger.level
    with no_logging() as root, attached() as lines:
        root.addHandler(logging.StreamHandler(shown))
        logger.setLevel(level)
        try:
            calling(step)
        finally:
            logger.setLevel(before)
    wanted = [str(number) for number in (20, 10) if number >= level]
    assert texts(lines) == wanted
    assert shown.getvalue().split() == wanted


def test_logging_that_was_disabled_stays_so():
    def step():
        logging.disable(logging.INFO)
        try:
            logging.getLogger("mine").info("not this")
        finally:
            logging.disable(logging.NOTSET)
        logging.getLogger("mine").info("this")

    with no_logging(), attached() as lines:
        calling(step)
    assert texts(lines) == ["this"]


def test_what_handlers_write_is_shown_where_prints_are(capsys):
    echo = io.StringIO()
    with no_logging(), attached(echo=echo):
        calling(lambda: logging.getLogger("mine").warning("careful"))
    assert echo.getvalue() == "careful\n"
    assert capsys.readouterr().err == ""


def test_handlers_may_ask_for_the_call_they_are_in():
    asked = []

    class Handler(logging.Handler):
        def emit(self, record):
            asked.append(current().idempotency_key)

    with no_logging() as root, attached():
        root.addHandler(Handler())
        calling(lambda: logging.getLogger("mine").warning("x"))
    assert asked == ["run-1/work/7"]


def test_a_log_message_that_cannot_be_formatted_is_the_programs_affair(capsys):
    with no_logging(), attached() as lines:
        calling(lambda: logging.getLogger("mine").warning("%d", "no number"))
    assert texts(lines) == ["<log message that cannot be shown: TypeError>"]
    assert capsys.readouterr().err.count("--- Logging error ---") == 1


def test_loggers_are_left_as_they_were(monkeypatch):
    original = logging.Logger.callHandlers
    with no_logging(), attached():
        pass
    assert logging.Logger.callHandlers is original
    monkeypatch.setattr(logging.Logger, "callHandlers", original)  # put back after the test
    with no_logging(), attached():
        ours = logging.Logger.callHandlers

        def tool(self, record):
            seen.append(record.getMessage())
            return ours(self, record)

        seen = []
        logging.Logger.callHandlers = tool
    assert logging.Logger.callHandlers is tool
    with no_logging(), attached() as lines:
        calling(lambda: logging.getLogger("mine").warning("hello"))
    assert logging.Logger.callHandlers is tool
    assert (texts(lines), seen) == (["hello"], ["hello"])


# ---- several runs, and processes -----------------------------------------------------------------


def test_two_runs_with_one_id_lose_no_lines(capsys):
    first, second = [], []
    keep_first, keep_second = first.append, second.append
    output.attach("same", keep_first)
    output.attach("same", keep_second)
    calling(lambda: print("both"), "same")
    output.detach("same", keep_first)
    calling(lambda: print("one"), "same")
    output.detach("same", keep_second)
    calling(lambda: print("none"), "same")
    assert (texts(first), texts(second)) == (["both"], ["both", "one"])
    assert capsys.readouterr().out == "both\none\nnone\n"


def test_the_sink_before_comes_back():
    first, second = [], []
    output.attach("same", first.append)
    output.attach("same", second.append)
    output.detach("same")
    calling(lambda: print("hello"), "same")
    output.detach("same")
    output.detach("same")  # and once more, which does nothing
    assert (texts(first), texts(second)) == (["hello"], [])


def test_runs_are_told_apart(capsys):
    with attached("a") as a, attached("b") as b:
        calling(lambda: print("to a"), "a")
        calling(lambda: print("to b"), "b")
    assert (texts(a), texts(b)) == (["to a"], ["to b"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_the_locks_of_its_parent(capfd):
    lock = threading.Lock()
    recorded = []

    def sink(line):
        assert lock.acquire(timeout=5), "the parent's lock"
        recorded.append(line)
        lock.release()

    def step():
        print("parent", flush=True)
        with lock:
            child = os.fork()
            if not child:
                status = 1
                try:
                    print("child", flush=True)
                    logging.getLogger("mine").warning("child")
                    output.attach("own", sink)  # a child may run flows itself
                    output.detach("own")
                    status = len(recorded) - 1
                finally:
                    os._exit(status)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    output.attach("run-1", sink)
    assert calling(step) == 0
    output.detach("run-1")
    assert texts(recorded) == ["parent", "child", "child"]
    assert capfd.readouterr().out == "parent\nchild\n"


def test_what_another_process_shows_goes_where_prints_go(capsys):
    echo = io.StringIO()
    with attached(echo=echo):
        output.show("run-1", "shown\n")
    with attached():
        output.show("run-1", "on stderr\n")
    assert echo.getvalue() == "shown\n"
    assert capsys.readouterr() == ("", "on stderr\n")


def test_lines_of_calls_side_by_side_are_shown_whole():
    shown, halfway = io.StringIO(), threading.Barrier(2, timeout=20)

    def half_by_half():
        print("first half,", end=" ")
        halfway.wait()
        print("second half")

    with attached(echo=shown):
        threads = [threading.Thread(target=calling, args=(half_by_half,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert shown.getvalue() == "first half, second half\n" * 2


def test_a_part_of_a_line_is_shown_when_it_is_flushed_and_when_the_call_ends():
    shown, seen = io.StringIO(), []

    def asking():
        print("name? ", end="")
        seen.append(shown.getvalue())
        sys.stdout.flush()
        seen.append(shown.getvalue())
        print("the rest", end="")

    with attached(echo=shown):
        calling(asking)
    assert seen == ["", "name? "]
    assert shown.getvalue() == "name? the rest"
