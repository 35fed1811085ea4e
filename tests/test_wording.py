"""Texts outside the command line name no options of it: who reads them may have none."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
OF_OTHER_PROGRAMS = {
    "lokki/aws/image.py": {"--password-stdin", "--platform", "--tag", "--username"},
    "lokki/aws/stack.py": {"--stack-name"},
    "lokki/builder/image_pkg.py": {
        "--compile-bytecode", "--from", "--no-cache", "--overrides", "--python", "--quiet",
        "--requirement", "--target",
    },
    "lokki/builder/local.py": {"--out-dir", "--quiet", "--wheel"},
    "lokki/builder/needs.py": {
        "--locked", "--no-annotate", "--no-dev", "--no-emit-project", "--no-hashes", "--no-header",
        "--project", "--quiet",
    },
    "lokki/builder/wheels.py": {
        "--no-annotate", "--no-header", "--only-binary", "--overrides", "--python",
        "--python-platform", "--python-version", "--quiet",
    },
    "lokki/builder/zip_pkg.py": {
        "--invalidation-mode", "--overrides", "--quiet", "--requirement", "--target",
    },
    "lokki/rehearse/environment.py": {
        "--allow-existing", "--compile-bytecode", "--python", "--quiet",
    },
}  # fmt: skip
DECLARED = {
    "lokki/config/schema.py": {
        "--concurrency", "--deployment", "--endpoint", "--image-tag", "--log-format", "--log-level",
        "--processes", "--region",
    },
    "lokki/params/parameter.py": {"--no-"},
    "lokki/rehearse/__main__.py": {"--host", "--image", "--port"},
}  # fmt: skip
"""Options that a module defines: those of settings, of parameters, and of a program of its own."""

IN_MAILS = {"lokki/builder/notices.py": {"--on"}}
"""Those of a command in a text that is sent: whoever reads it has nothing but the command line."""


def strings(code):
    """The strings in a module, without docstrings."""
    nodes = list(ast.walk(ast.parse(code)))
    docstrings = {each.value for each in nodes if isinstance(each, ast.Expr)}
    for each in nodes:
        if isinstance(each, ast.Constant) and each not in docstrings:
            yield str(each.value)


def test_only_the_command_line_names_its_options():
    named = {}
    for file in [*(ROOT / "lokki").rglob("*.py"), *(ROOT / "server").rglob("*.py")]:
        path = file.relative_to(ROOT).as_posix()
        found = {each for text in strings(file.read_text()) for each in OPTION.findall(text)}
        if found and not path.startswith("lokki/cli/"):
            named[path] = found
    assert named == OF_OTHER_PROGRAMS | DECLARED | IN_MAILS


def test_an_option_is_found_wherever_a_text_names_it():
    code = '"""It is --quiet."""\nraise ValueError(f"{run}: say --replace or `--on x`, not a--b")\n'
    assert [OPTION.findall(text) for text in strings(code)] == [["--replace", "--on"]]
