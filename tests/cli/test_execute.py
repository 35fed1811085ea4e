"""What real runs tell on stderr, as whole processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import textwrap
import time

import forking
import pytest


@pytest.fixture
def script(tmp_path):
    def write(body):
        path = tmp_path / "mine.py"
        path.write_text("from lokki import flow, main, step\n" + textwrap.dedent(body))
        return path

    return write


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a command in a folder of its own, as a process whose stderr is a pipe."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def start(*arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return forking.started([*map(str, arguments)], cwd=tmp_path, **pipes, **options)

    return start


@pytest.fixture
def run(start):
    def run(*arguments):
        process = start(*arguments)
        out, err = process.communicate(timeout=50)
        return process.returncode, out, err.splitlines()

    return run


ROWS = """
    @step
    def rows():
        return range(4)

    @step
    def row(n):
        if n == broken:
            raise ValueError("invalid input")
        return n

    @step
    def total(rows):
        return sum(rows)

    @flow
    def adding():
        return rows().map(row).agg(total)

    if __name__ == "__main__":
        main(adding)
"""


def test_lines_for_people(script, run):
    path = script("broken = None\n" + textwrap.dedent(ROWS))
    code, out, lines = run(path, "run")
    assert (code, out) == (0, "6\n")
    patterns = [r"\[INFO\] Run \S+ of adding started"]
    for name in ("rows", "row", "total"):
        patterns.append(rf"\[INFO\] Step '{name}' started at \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d")
        if name == "row":
            patterns.append(r"\[={26}\] 4/4 \(100%\) completed")
        patterns.append(rf"\[INFO\] Step '{name}' completed in \d\.\d{{3}}s \(status=success\)")
    patterns.append(r"\[INFO\] Run \S+ succeeded")
    lines = [line for line in lines if not re.match(r"\[.* \((25|50|75)%\) completed", line)]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line)


def test_the_end_of_a_failed_run(script, run):
    path = script("broken = 2\n" + textwrap.dedent(ROWS))
    code, out, lines = run(path, "run", "--log-level", "ERROR")
    assert (code, out) == (1, "")
    assert lines[0] == "Traceback (most recent call last):"
    assert f'File "{path}"' in lines[1]
    assert lines[-4] == "ValueError: invalid input"
    failed = r"\[ERROR\] Step 'row' failed after \d+\.\d{3}s: ValueError: invalid input"
    assert re.fullmatch(failed, lines[-3])
    (line,) = re.findall(r"line (\d+)", lines[1])
    assert lines[-2] == f"Error: the run failed in step 'row', item 2, attempt 1, at {path}:{line}"
    assert re.fullmatch(rf"resume: python {re.escape(str(path))} resume \S+", lines[-1])
    assert "".join(lines).count("invalid input") == 3  # the code, the traceback's end, the error


def test_the_line_of_a_failure_is_the_users_not_a_librarys(script, run):
    path = script("""
        import json
        from lokki import flow, main, step

        @step
        def parse():
            return json.loads("{")

        @flow
        def parsing():
            return parse()

        if __name__ == "__main__":
            main(parsing)
    """)
    line = 1 + path.read_text().splitlines().index('    return json.loads("{")')
    code, _, lines = run(path, "run")
    assert code == 1
    assert lines[-2].endswith(f"step 'parse', attempt 1, at {path}:{line}")
    _, out, _ = run(path, "show", "last", "--json")
    (group,) = json.loads(out)["stages"][0]["failures"]
    assert group["place"] == {"file": str(path), "line": line, "function": "parse"}


def test_what_a_resume_does_is_reported_first(script, run):
    path = script("broken = 2\n" + textwrap.dedent(ROWS))
    run(path, "run")
    path.write_text(path.read_text().replace("broken = 2", "broken = None"))
    code, out, lines = run("-m", "lokki", "resume", "last", "--log-format", "json")
    assert (code, out) == (0, "6\n")
    told = [json.loads(line) for line in lines]
    assert told[0]["event"] == "run_resuming"
    assert re.match(r"row: [12] of 4 items", told[0]["message"])
    start = next(each for each in told if each["event"] == "run_start")
    assert start["resumed"] is True


NOISY = """
    import logging, sys, warnings
    log = logging.getLogger("mine")

    @step
    def items():
        print("printed")
        print("partial", end="")
        print("error", file=sys.stderr)
        log.info("informed")
        log.warning("logged %d", 5)
        warnings.warn("warned")
        return range(3)

    @step(retry={"retries": 1, "delay": 0.3})
    def flaky(n):
        from lokki import current
        if current().attempt == 1:
            raise OSError("flaky")
        return n

    @step(executor="process")
    def beside(n):
        print("in process")
        log.warning("logged in process")
        return n

    @step(executor="process")
    def broken(values):
        raise ValueError("two\\nlines")

    @flow
    def noisy():
        return items().map(flaky).next(beside).agg(broken)

    if __name__ == "__main__":
        main(noisy)
"""


def test_every_line_of_a_json_run_is_json(script, run):
    path = script(NOISY)
    code, out, lines = run(path, "run", "--log-format", "json")
    assert (code, out) == (1, "")
    told = [json.loads(line) for line in lines]
    assert all({"level", "ts", "event"} <= each.keys() for each in told)
    written = [
        (each["level"], each["source"], each["message"])
        for each in told
        if each["event"] == "log" and each["step"] == "items"
    ]
    assert written[:4] == [
        ("INFO", "stdout", "printed"),
        ("WARNING", "stderr", "error"),
        ("INFO", "mine", "informed"),
        ("WARNING", "mine", "logged 5"),
    ]
    assert written[4][2].endswith("UserWarning: warned")
    assert written[-1] == ("INFO", "stdout", "partial")
    logged = [each for each in told if each["event"] == "log" and each["step"] == "beside"]
    beside = sorted(each["message"] for each in logged)
    assert beside == 3 * ["in process"] + 3 * ["logged in process"]
    events = [each["event"] for each in told]
    assert events.count("step_retrying") == 1
    assert events[-3:] == ["step_failed", "run_end", "error"]
    failed, _, error = told[-3:]
    assert failed["message"] == "ValueError: two\nlines"
    assert failed["traceback"].endswith("ValueError: two\nlines\n")
    assert error["resume"].startswith(f"python {path} resume ")
    assert error["exit_code"] == 1


def test_settings_come_from_file_environment_and_options(script, run, tmp_path, monkeypatch):
    path = script("broken = None\n" + textwrap.dedent(ROWS))
    config = tmp_path / "lokki.toml"
    config.write_text("[logging]\nshow_timestamps = false\nprogress_interval = 100\n")
    _, _, lines = run(path, "run")
    assert lines[3:6] == [
        "[INFO] Step 'row' started",
        "[==========================] 4/4 (100%) completed",
        lines[5],
    ]
    config.write_text('[logging]\nformat = "json"\n')
    _, _, lines = run(path, "run")
    assert json.loads(lines[0])["event"] == "run_start"
    monkeypatch.setenv("LOKKI_LOG_LEVEL", "WARNING")
    assert run(path, "run")[2] == []
    _, _, lines = run(path, "run", "--log-level", "INFO", "--log-format", "human")
    assert lines[0].startswith("[INFO] Run ")
    code, _, lines = run(path, "run", "--log-level", "LOUD")
    assert code == 2
    assert "LOUD" in lines[-1]


def test_the_programs_own_logging_is_left_as_it_is(script, run):
    path = script(
        """
        import logging

        seen = []

        class Handler(logging.Handler):
            def emit(self, record):
                seen.append(record.getMessage())

        logging.root.addHandler(Handler())
        logging.root.setLevel("DEBUG")
        quiet = logging.getLogger("quiet")
        quiet.propagate = False

        def state():
            loggers = [logging.root, quiet]
            return [(each.level, list(each.handlers), each.propagate) for each in loggers]

        before = state()

        @step
        def logs():
            logging.getLogger("mine").debug("once")
            quiet.error("not seen")
            assert state() == before

        @step
        def told(_):
            return [text for text in seen if "seen" in text or "once" in text]

        @flow
        def logged():
            return logs().next(told)

        if __name__ == "__main__":
            main(logged)
        """
    )
    code, out, lines = run(path, "run")
    assert (code, out) == (0, "['once']\n"), lines


SLOW = """
    import time

    @step
    def items():
        return range(2)

    @step
    def slow(n):
        print("begun", flush=True)
        time.sleep(WAIT)
        return n

    @flow
    def waiting():
        return items().map(slow)

    if __name__ == "__main__":
        main(waiting)
"""


def _until(process, *texts):
    """Read lines until each of the texts has been in one."""
    lines = []
    while not all(any(text in line for line in lines) for text in texts):
        line = process.stderr.readline()
        assert line, lines
        lines.append(line.rstrip("\n"))
    return lines


@pytest.mark.parametrize("format", ["human", "json"])
def test_ctrl_c_tells_what_is_waited_for_and_the_resume_command_once(script, start, format):
    path = script(SLOW.replace("WAIT", "1"))
    process = start(path, "run", "--log-format", format)
    started = "Step 'slow' started" if format == "human" else '"step_start", "step": "slow"'
    lines = _until(process, "begun", started)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    lines += err.splitlines()
    assert (process.returncode, out) == (130, "")
    waiting = "waiting for the calls of 'slow' in threads to end"
    assert "".join(lines).count(f"python {path} resume ") == 1
    if format == "json":
        told = [json.loads(line) for line in lines]
        assert told[-1]["exit_code"] == 130
        (cancelling,) = [each for each in told if each["event"] == "run_cancelling"]
        assert cancelling["message"] == f"cancelling: {waiting}"
    else:
        assert sum(waiting in line for line in lines) == 1
        assert re.fullmatch(r"run \S+ was cancelled", lines[-1])


def test_a_second_ctrl_c_quits_at_once(script, start):
    path = script(SLOW.replace("WAIT", "100"))
    process = start(path, "run")
    _until(process, "begun")
    process.send_signal(signal.SIGINT)
    _until(process, "cancelling")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


@pytest.mark.parametrize(
    "numbers", [["SIGTERM"], ["SIGHUP"], ["SIGHUP"] * 3, ["SIGTERM", "SIGHUP"]]
)
def test_what_ends_a_process_or_its_terminal_cancels_the_run(script, start, run, numbers):
    process = start(script(SLOW.replace("WAIT", "1")), "run")
    _until(process, "begun")
    for number in numbers:
        process.send_signal(getattr(signal, number))
        time.sleep(0.05)  # two of a kind that wait are one
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (130, "")
    assert re.search(r"\nrun \S+ was cancelled\n", err)
    assert json.loads(run("-m", "lokki", "show", "last", "--json")[1])["status"] == "cancelled"


def test_a_run_under_nohup_outlives_its_terminal(script, start):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(script(SLOW.replace("WAIT", "0.3")), "run", preexec_fn=nohup)
    _until(process, "begun")
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=50)
    assert (process.returncode, out) == (0, "[0, 1]\n")


CLOCK = """
    import time

    of_day, shift = time.time, [0.0]
    time.time = lambda: of_day() + shift[0]  # before lokki is imported

    from lokki import flow, main, step

    @step
    def ready():
        return [1, 2]

    @step
    def back(n):
        time.sleep(0.3)
        shift[0] = -3600.0
        return n

    @step
    def after(numbers):
        time.sleep(0.2)

    @flow
    def clocked():
        return ready().map(back, concurrency_limit=1).agg(after)

    if __name__ == "__main__":
        main(clocked)
"""


def test_a_clock_that_is_set_back_changes_no_duration(tmp_path, run):
    path = tmp_path / "clocked.py"
    path.write_text(textwrap.dedent(CLOCK))
    code, _, lines = run(path, "run", "--log-format", "json")
    assert code == 0
    told = [json.loads(line) for line in lines]
    took = {each["step"]: each["duration"] for each in told if each["event"] == "step_complete"}
    shown = json.loads(run("-m", "lokki", "show", "last", "--json")[1])
    stages = {stage["name"]: stage["duration"] for stage in shown["stages"]}
    for durations in (took, stages):
        assert 0 <= durations["ready"] < 5
        assert 0.6 <= durations["back"] < 5
        assert 0.2 <= durations["after"] < 5
    assert 0.8 <= shown["duration"] < 9
    assert shown["created"] <= shown["stages"][0]["started"] <= shown["finished"]


def test_a_result_that_cannot_be_printed_is_reported(script, run):
    path = script(
        """
        class Odd:
            def __str__(self):
                raise ValueError("no text")

        @step
        def odd():
            return Odd()

        @flow
        def unprintable():
            return odd()

        if __name__ == "__main__":
            main(unprintable)
        """
    )
    code, out, lines = run(path, "run", "--log-format", "json")
    assert (code, out) == (1, "")
    told = json.loads(lines[-1])["message"]
    assert told.startswith("Error: the run succeeded, but its result cannot be printed: ")


@pytest.mark.parametrize(
    ("step", "option"),
    [("@step", "--concurrency"), ('@step(executor="process")', "--processes")],
)
def test_a_map_that_asks_for_more_calls_than_the_engine_makes_is_reported(
    script, run, step, option
):
    path = script(
        f"""
        @step
        def numbers():
            return [1, 2]

        {step}
        def doubled(number):
            return 2 * number

        @flow
        def limited():
            return numbers().map(doubled, concurrency_limit=7)

        if __name__ == "__main__":
            main(limited)
        """
    )
    told = f"at a time; to raise it: {option} 7"
    for limit in (6, 7):
        code, out, lines = run(path, "run", option, limit)
        assert (code, out) == (0, "[2, 4]\n")
        assert sum(told in line for line in lines) == (limit < 7)
