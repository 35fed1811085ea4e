"""The site of the documentation: it is made without a warning, and asks no other host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = ROOT / "docs" / "make_site.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, MAKE, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_can_be_reached(site):
    start = (site / "index.html").read_text()
    pages = {file.stem for file in (ROOT / "docs").glob("*.md")} - {"README"}
    for page in pages | {"security", "contributing", "changelog"}:
        assert (site / page / "index.html").is_file()
        assert re.search(rf'href="(?:\./)?{page}/(?:index\.html)?"', start), page


def test_links_lead_to_pages_of_the_site_or_are_text(site):
    for page in site.rglob("*.html"):
        for link in re.findall(r'href="([^"]+)"', page.read_text()):
            assert not re.search(r"\.md\b|/(examples|LICENSE)\b", link), (page, link)


def test_lists_are_lists(site):
    for page in site.rglob("*.html"):
        for text in re.findall(r"<p>(.*?)</p>", page.read_text(), re.DOTALL):
            assert not re.search(r"^(- |\d+\. |\| )", text, re.MULTILINE), (page, text)


def test_no_other_host_is_asked(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]*src="https?://', text), page
        assert not re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="http', text)
