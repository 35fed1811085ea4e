"""A small CI pipeline: check out a project, run its checks beside each other, publish the verdict.

Shows steps one after the other around a map, work that runs programs, a retry for what fails now
and then, and a failure that ends the run: what is published has passed every check. The project is
made up here, and `--revision broken` has a bug.

    python examples/pipeline.py run
    python examples/pipeline.py run --revision broken     # fails: a check does
    python examples/pipeline.py show last
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lokki import flow, main, step

CHECKS = {
    "compile": ["-m", "compileall", "-q", "."],
    "unit tests": ["-m", "unittest", "-q"],
    "command": ["birds.py", "duck"],
}


@step
def checkout(revision: str):
    """The files of the project at a revision."""
    sound = "flap" if revision == "broken" else "quack"
    return {
        "birds.py": f"import sys\n\ndef call(bird):\n    return bird + ': {sound}'\n\n"
        "if __name__ == '__main__':\n    print(call(sys.argv[1]))\n",
        "test_birds.py": "import unittest\nfrom birds import call\n\n"
        "class Birds(unittest.TestCase):\n    def test_call(self):\n"
        "        self.assertEqual(call('duck'), 'duck: quack')\n",
    }


@step
def plan(files: dict[str, str]):
    return [(check, files) for check in CHECKS]


@step(retry={"retries": 1, "delay": 0.1, "exceptions": (subprocess.TimeoutExpired,)})
def run_check(job: tuple[str, dict[str, str]]):
    """Run a check in a folder of its own; its output becomes lines of the run."""
    check, files = job
    with TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        done = subprocess.run(
            [sys.executable, *CHECKS[check]],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"'{check}' failed with exit code {done.returncode}")
    return check


@step
def publish(passed: list[str], revision: str):
    return f"{revision} is published: it passes {', '.join(passed)}"


@flow
def pipeline(revision: str = "main"):
    """Check a revision of a project, and publish it if all is well."""
    return checkout().next(plan).map(run_check).agg(publish)


if __name__ == "__main__":
    main(pipeline)
