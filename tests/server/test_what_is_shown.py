"""What steps have shown, over HTTP: listed, and served so that nothing in it can do harm."""

from __future__ import annotations

import pytest
from serving import Place, environment

FLOWS = """
import lokki
from lokki import flow, step

PNG = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(64)
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"

@step
def several():
    table = "\\n\\n|e|\\n|-:|\\n|1|"
    lokki.show("# Hi\\n\\n<script>alert(1)</script> [a](javascript:b) ![c](d)" + table, 'A/"b"')
    lokki.show("<p>Hi<script>alert(1)</script>", "Page", kind="html")
    lokki.show(PNG)
    lokki.show(SVG, "Circle")
    lokki.show([{"a": "<b>"}])
    return [1, 2]

@step
def each(number):
    lokki.show(str(number))

@flow
def showing():
    return several().map(each)
"""
CONTENTS = {
    "several.-.1.0": ("text/markdown; charset=utf-8", "several-1-A-b.md"),
    "several.-.1.1": ("text/html; charset=utf-8", "several-2-Page.html"),
    "several.-.1.2": ("image/png", "several-3.png"),
    "several.-.1.3": ("image/svg+xml", "several-4-Circle.svg"),
    "several.-.1.4": ("application/json; charset=utf-8", "several-5.csv"),
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Asks a server for something of a run that has shown something."""
    place = Place(tmp_path_factory.mktemp("attachments"))
    place.write("flows.py", FLOWS)
    with pytest.MonkeyPatch.context() as patch:
        environment(place.folder, patch)
        server = place.serve("flows.py", "--runners", "1")
        run = server.ran("showing")["id"]
        yield lambda path: server.client.get(f"/runs/{run}/attachments{path}")
        place.close()


def policy(answer):
    """The directives of an answer's policy."""
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: words.split() for name, _, words in (each.partition(" ") for each in parts)}


def test_a_list_has_pages(asked):
    first = asked("?limit=5").json()
    assert [each["name"] for each in first["attachments"]] == list(CONTENTS)
    assert first["next"] == "several.-.1.4"
    second = asked(f"?after={first['next']}").json()
    assert sorted(each["name"] for each in second["attachments"]) == ["each.0.1.0", "each.1.1.0"]
    assert second["next"] is None
    assert len(asked("?item=1").json()["attachments"]) == 1
    assert asked("/each.1.1.0").json()["step"] == "each"


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_has_its_type_and_can_do_nothing(asked, name):
    kind, file = CONTENTS[name]
    answer = asked(f"/{name}/content")
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == f"inline; filename*=UTF-8''{file}"
    assert answer.headers["x-content-type-options"] == "nosniff"
    found = policy(answer)
    assert found["default-src"] == ["'none'"]
    assert "script-src" not in found
    assert "connect-src" not in found
    assert found["frame-ancestors"] == ["'self'"]
    assert not {"allow-scripts", "allow-same-origin", "allow-forms"} & set(found["sandbox"])


def test_a_text_is_rendered_without_its_html(asked):
    answer = asked("/several.-.1.0/page?scripts=true")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [a](javascript:b)" in answer.text
    assert '<td align="right">1</td>' in answer.text
    assert "allow-scripts" not in policy(answer)["sandbox"]


def test_a_page_runs_its_scripts_only_if_asked_and_never_with_an_origin_or_the_network(asked):
    without, scripted = (asked(f"/several.-.1.1/page{query}") for query in ("", "?scripts=true"))
    assert without.text == scripted.text == "<p>Hi<script>alert(1)</script>"
    assert "allow-scripts" not in policy(without)["sandbox"]
    found = policy(scripted)
    assert "allow-scripts" in found["sandbox"]
    assert "allow-same-origin" not in found["sandbox"]
    assert found["default-src"] == ["'none'"]
    assert found["img-src"] == ["data:", "blob:"]
    assert "connect-src" not in found


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/several.-.1.9", 404),
        ("/several.-.1.9/content", 404),
        ("/several.-.1.9/page", 404),
        ("/several.-.1.2/page", 409),
        ("/a b/content", 422),
        ("?limit=0", 422),
        ("?order=1", 422),
    ],
)
def test_what_is_not_there_is_a_problem(asked, path, status):
    answer = asked(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
