"""The dashboard in a browser: Debian's Chromium, headless, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from serving import Place, until

FLOWS = """
import asyncio
import time
from typing import Literal
import lokki
from lokki import flow, step

@step
def numbers(count):
    return list(range(count))

@step
def crunch(number):
    time.sleep(0.002)
    if number % 500 == 77 and not OPEN.exists():
        print("a bad one:", number)
        raise ValueError(f"no number {number}")
    return number

@step
def total(found):
    return sum(found)

@flow
def crunching(count: int = 100, mode: Literal["fast", "exact"] = "fast"):
    "Crunch many numbers."
    return numbers(count).map(crunch, tolerated_failures=0.1).agg(total)

@step
def slow(number):
    time.sleep(0.05)

@step
def speak(number):
    print("line", number)

@step
def listen(number):
    print("heard", number)

@flow
def speaking(count: int = 2000):
    return numbers(count).map(speak).agg(first_ones).map(listen)

@step
def first_ones(found):
    return list(range(10))

@step
def same(number):
    return [number]

@flow
def exact(number: int = 2**60 + 1):
    return same(number)

@step
def falters(number):
    time.sleep(0.05)
    if number == 3:
        raise ValueError("not three")
    if number > 3 and OPEN.exists():
        raise KeyError("opened")

@flow
def faltering(count: int = 3000):
    return numbers(count).map(falters, tolerated_failures=0.9)

@step(retry={"retries": 1, "delay": 0})
def fragile(number):
    if number == 3:
        raise ValueError("not three")
    time.sleep(0.005)
    while number == 7 and not OPEN.exists():
        time.sleep(0.01)
    return number

@flow
def chained(count: int = 8):
    return numbers(count).map([fragile, slow], tolerated_failures=1).agg(rests)

@step
async def rests(found):
    await asyncio.sleep(600)

@step
def shows(number):
    lokki.show("# Birds\\n\\nThree **species**, [here](https://example.org) <script>", "Notes")
    lokki.show([{"bird": "wren", "share": 1 / 3}] * 60, "Birds")
    lokki.show("<svg xmlns='http://www.w3.org/2000/svg' width='20' height='20'></svg>", "Circle")
    lokki.show("<p id='hi'>Hi</p>", "Page", kind="html")

@step
def shows_scripts(number):
    lokki.show("<p>Hi<script>document.body.append(', it ran')</script>", "Page", kind="html")

@flow
def showing(harmless: bool = True):
    return numbers(1).map(shows if harmless else shows_scripts)

@flow(schedule="rate(1 day)")
def waiting(count: int = 2000):
    return numbers(count).map(slow)
"""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"),
        reason="Chromium is not installed: apt-get install chromium",
    ),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with flows, and a server on it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("dashboard")
        patch.setenv("HOME", str(folder))
        patch.setenv("LOKKI_LOCAL_JOURNAL", str(folder / "lokki.db"))
        found = Place(folder)
        found.write("flows.py", FLOWS)
        patch.setenv("LOKKI_DASHBOARD_EDITOR", "vscode")
        found.write("broken.py", "from lokki import flow\nimport nothing_of_this_name\n@flow\n")
        found.serve("--runners", "2")
        yield found
        found.close()


@pytest.fixture(scope="module")
def server(place):
    return place.servers[0]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, server):
    """Open pages in a window of a size; what they tell on the console fails the test."""
    contexts, told = [], []

    def open_page(size="desktop", scheme="light"):
        context = browser.new_context(
            base_url=str(server.client.base_url), viewport=SIZES[size], color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda line: line.type == "error" and told.append(line.text))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


def status(page):
    return page.locator("main").get_by_text(re.compile("^(succeeded|failed|cancelled)$")).first


@pytest.mark.parametrize("size", SIZES)
def test_a_run_is_started_watched_and_mended(opened, place, size):
    place.shut()
    page = opened(size)
    page.goto("/ui/flows/crunching")
    page.get_by_label("count").fill("2000")
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(re.compile(r"/ui/runs/\d{8}-"))
    expect(page.get_by_role("img").or_(page.locator("canvas")).first).to_be_visible()
    expect(status(page)).to_have_text("succeeded", timeout=60_000)
    expect(page.locator("main")).to_contain_text("1,996")
    run = page.url
    page.get_by_role("link", name="#577").click()
    expect(page.locator("main")).to_contain_text("ValueError")
    expect(page.locator("main")).to_contain_text("no number 577")
    expect(page.locator("main")).to_contain_text("a bad one: 577")
    page.goto(run)
    place.open()
    page.get_by_role("button", name="Re-run these").click()
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("main")).to_contain_text("2,000 of 2,000")
    expect(page.get_by_role("button", name="Re-run these")).to_have_count(0, timeout=30_000)
    expect(status(page)).to_have_text("succeeded", timeout=30_000)
    page.get_by_role("tab", name="Result").or_(page.get_by_role("link", name="Result")).click()
    expect(page.locator("main")).to_contain_text(str(sum(range(2000))))


def test_wrong_parameters_are_reported_beside_their_fields(opened):
    page = opened()
    page.goto("/ui/flows/crunching")
    page.get_by_label("count").fill("1.5")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("a whole number is needed")).to_be_visible()
    expect(page).to_have_url(re.compile("/ui/flows/crunching$"))


def test_failures_stay_and_come_while_a_run_goes_on(opened, place, server):
    def stage():
        return next((each for each in server.get(f"/runs/{run}")["stages"][1:]), {})

    def is_shown():
        """Whether the failure is, and those who look at it see the run go on."""
        assert page.get_by_text("not three").is_visible()
        return page.get_by_text(re.compile(r"\d+ of 3,000")).first.inner_text()

    place.shut()
    run = server.start("faltering")
    until(lambda: stage().get("tolerated"), "a failure")
    page = opened()
    page.goto(f"/ui/runs/{run}")
    expect(page.get_by_text("not three")).to_be_visible()
    seen = {is_shown()}
    until(lambda: seen.add(is_shown()) or len(seen) > 3, "a run that goes on")
    place.open()
    expect(page.get_by_text("KeyError")).to_be_visible()
    expect(page.get_by_text("not three")).to_be_visible()
    server.client.post(f"/runs/{run}/cancel", json={})
    assert server.ended(run)["status"] == "cancelled"


@pytest.mark.parametrize("size", SIZES)
def test_the_inner_steps_of_a_map_are_reported_and_counted_while_it_goes_on(
    opened, place, server, size
):
    place.shut()
    run = server.start("chained")
    page = opened(size)
    page.goto(f"/ui/runs/{run}")
    step = page.locator(".inner-steps li")
    expect(step.first).to_contain_text(re.compile(r"fragile6 done · 2 failed attempts · \d"))
    place.open()
    expect(step.first).to_contain_text("7 done · 2 failed attempts · ")
    expect(step.last).to_have_text(re.compile(r"slow7 done · .+ on average"))
    stages = page.locator("[aria-label='Graph of the flow'] > li")
    expect(stages).to_have_text(["numbers", "map8 of 8fragile7, 2 failedslow7", "rests"])
    expect(stages.first.get_by_role("link")).to_have_attribute("href", re.compile("/0/items/0$"))
    expect(stages.nth(1).get_by_role("link")).to_have_attribute("href", re.compile("/1/items$"))
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not wide, "it scrolls sideways"
    server.client.post(f"/runs/{run}/cancel", json={})
    assert server.ended(run)["status"] == "cancelled"


@pytest.mark.parametrize("where", ["", "/stages/1/items/0"])
def test_what_steps_have_shown_is_seen(opened, server, where):
    run = server.ran("showing")["id"]
    page = opened()
    page.goto(f"/ui/runs/{run}{where}")
    card = page.get_by_role("region", name="Shown by steps")
    expect(card.locator("figure")).to_have_count(4)
    notes = card.locator("figure", has_text="Notes")
    expect(notes.locator("strong")).to_have_text("species")
    expect(notes).to_contain_text("<script>")
    expect(notes.get_by_role("link", name="here")).to_have_attribute("href", "https://example.org")
    birds = card.get_by_role("region", name="Table: Birds")
    expect(birds.get_by_role("row")).to_have_count(51)
    expect(birds.get_by_role("cell", name="0.333333").first).to_be_visible()
    card.get_by_role("button", name="more: 10").click()
    expect(birds.get_by_role("row")).to_have_count(61)
    picture = card.get_by_role("img", name="Circle")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 20
    expect(card.frame_locator("iframe").locator("#hi")).to_have_text("Hi")
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found] == []


def test_scripts_of_a_page_run_only_when_somebody_asks(browser, server):
    run = server.ran("showing", harmless=False)["id"]
    context = browser.new_context(base_url=str(server.client.base_url))
    page = context.new_page()
    page.goto(f"/ui/runs/{run}")
    body = page.frame_locator("iframe").locator("body")
    expect(body).to_have_text("Hi")
    page.get_by_role("button", name="Run its scripts").click()
    expect(body).to_have_text("Hi, it ran")
    context.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_run_is_cancelled(opened, server, size):
    run = server.start("waiting")
    server.until_status(run, "running")
    page = opened(size)
    page.goto(f"/ui/runs/{run}")
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(status(page)).to_have_text("cancelled")
    assert server.ended(run)["status"] == "cancelled"


def test_a_run_is_paused_tuned_and_continued(opened, server):
    run = server.start("waiting")
    page = opened("desktop")
    page.goto(f"/ui/runs/{run}")
    page.get_by_role("button", name="Concurrency…").click()
    page.get_by_label("Concurrency").fill("1")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_text("slow: 1 at a time")).to_be_attached()
    page.get_by_role("button", name="Pause…").click()
    page.get_by_role("button", name="Pause the run").click()
    expect(page.locator(".run-line .badge")).to_have_text("paused")
    expect(page.get_by_text("nothing of it runs until it is continued")).to_be_visible()
    assert server.get(f"/runs/{run}")["owner"] is None
    page.get_by_role("button", name="Continue…").click()
    page.get_by_role("button", name="Continue the run").click()
    expect(page.locator(".run-line .badge")).to_have_text("running")
    server.client.post(f"/runs/{run}/cancel", json={})
    assert server.ended(run)["status"] == "cancelled"


def test_a_page_goes_on_when_the_server_is_started_anew(browser, place):
    server = place.serve("flows.py")
    run = server.start("waiting")
    server.until_status(run, "running")
    context = browser.new_context(base_url=str(server.client.base_url))
    try:
        page = context.new_page()
        page.goto(f"/ui/runs/{run}")
        expect(page.get_by_text("running").first).to_be_visible()
        server.kill()
        again = place.serve("flows.py", "--port", str(server.client.base_url.port))
        again.client.post(f"/runs/{run}/cancel", json={})
        expect(status(page)).to_have_text("cancelled", timeout=60_000)
    finally:
        context.close()


def test_the_log_begins_at_its_end_and_goes_back(opened, server):
    run = server.ran("speaking", count=1900)["id"]
    page = opened()
    page.goto(f"/ui/runs/{run}/logs?step=speak")
    lines, earlier = page.get_by_role("log"), page.get_by_role("button", name="Earlier lines")
    told = server.get(f"/runs/{run}/logs", step="speak", limit=5000)["lines"]
    shown = lines.locator(".line-text")
    expect(shown.first).to_have_text(told[0]["message"])
    page.get_by_role("button", name="Newest").click()
    for begin, end in ((1400, 1900), (900, 1900), (400, 1400), (0, 1000)):
        expect(shown.first).to_have_text(told[begin]["message"])
        assert shown.all_inner_texts() == [line["message"] for line in told[begin:end]]
        if begin:
            earlier.click()
    expect(earlier).to_be_hidden()
    page.get_by_role("button", name="More lines").click()
    expect(shown.last).to_have_text(told[1499]["message"])
    expect(earlier).to_be_visible()


def test_a_log_is_searched_beyond_the_lines_that_were_loaded(opened, server):
    run = server.ran("speaking", count=1900)["id"]
    page = opened()
    page.goto(f"/ui/runs/{run}/logs?step=speak")
    last = server.get(f"/runs/{run}/logs", step="speak", tail=True, limit=1)["lines"][0]["message"]
    page.get_by_label("Text").fill(last.upper())
    page.get_by_label("Text").press("Enter")
    shown = page.get_by_role("log").locator(".line-text")
    expect(shown).to_have_text([last])
    expect(page.get_by_role("log").locator("mark")).to_have_text([last])
    expect(page).to_have_url(re.compile(r"step=speak&search=LINE"))


def test_the_log_is_downloaded_as_it_is_filtered(opened, server):
    run = server.ran("speaking", count=5500)["id"]
    page = opened()
    page.goto(f"/ui/runs/{run}/logs?step=speak")
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download").click()
    assert begun.value.suggested_filename == f"{run}.log"
    found = begun.value.path().read_text().splitlines()
    told = server.get(f"/runs/{run}/logs", step="speak", tail=True, limit=1)["lines"][0]
    assert len(found) == 5500
    assert found[-1].startswith(f"{told['ts']} ")
    assert told["message"] in found[-1]


def test_an_item_shows_the_lines_of_its_own_stage(opened, server):
    run = server.ran("speaking", count=20)["id"]
    page = opened()
    page.goto(f"/ui/runs/{run}/stages/3/items/4")
    expect(page.get_by_text("heard")).to_be_visible()
    expect(page.get_by_text("line 4", exact=True)).to_have_count(0)
    expect(page.get_by_role("region", name="Input")).to_have_text("Input4")
    page.get_by_role("link", name="All items").click()
    expect(page.get_by_role("row", name="#7").get_by_role("cell").first).to_have_text("7")


def test_whole_numbers_are_exact(opened, server):
    page = opened()
    page.goto("/ui/flows/exact")
    expect(page.get_by_label("number")).to_have_value(str(2**60 + 1))
    page.get_by_label("number").fill(str(2**70 + 1))
    page.get_by_role("button", name="Start").click()
    expect(status(page)).to_have_text("succeeded")
    page.get_by_role("link", name="Result").click()
    expect(page.locator("main")).to_contain_text(str(2**70 + 1))


def test_a_run_appears_in_the_list_by_itself(opened, server):
    page = opened()
    page.goto("/ui/runs")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    run = server.start("crunching", count=3)
    expect(page.get_by_text(run)).to_be_visible()
    expect(page.locator("main").get_by_text("succeeded").first).to_be_visible()


def test_runs_are_searched_and_the_url_keeps_the_search(opened, server):
    first = server.ran("crunching", count=11)["id"]
    body = {"params": {"count": 12}, "tags": ["nightly"]}
    tagged = server.client.post("/flows/crunching/runs", json=body).json()["id"]
    server.ended(tagged)
    page = opened()
    page.goto("/ui/runs?flow=crunching")
    field, rows = page.get_by_role("searchbox"), page.locator("tbody tr")
    field.fill("count=11")
    field.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(first)
    expect(page).to_have_url(re.compile(r"flow=crunching&param=count%3D11$"))
    field.fill("tag:nightly count=12")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(tagged)
    page.reload()
    expect(rows).to_have_count(1)
    expect(field).to_have_value("tag:nightly count=12")
    again = server.client.post("/flows/crunching/runs", json=body).json()["id"]
    expect(rows.first).to_contain_text(again)
    server.ran("crunching", count=13)
    expect(rows).to_have_count(2)
    page.go_back()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(first)
    field.fill("no such text")
    field.press("Enter")
    expect(page.get_by_text("No runs match")).to_be_visible()
    page.goto("/ui/runs")
    page.get_by_role("row", name=tagged).get_by_role("link", name="nightly").click()
    expect(rows).to_have_count(2)
    field.fill(tagged)
    field.press("Enter")
    expect(page).to_have_url(re.compile(f"/ui/runs/{tagged}$"))


@pytest.mark.parametrize("size", SIZES)
def test_two_runs_are_compared(opened, place, server, size):
    place.shut()
    first, second = (server.ran("crunching", count=count)["id"] for count in (100, 600))
    page = opened(size)
    page.goto(f"/ui/runs/{first}")
    page.get_by_role("link", name="Compare…").click()
    page.get_by_label("Second run").select_option(second)
    expect(page).to_have_url(re.compile(f"first={first}&second={second}$"))
    expect(page.get_by_role("row", name="count")).to_have_text("count100600")
    expect(page.get_by_role("row", name="ValueError: no number")).to_contain_text("12")
    expect(page.get_by_role("row", name="crunch")).to_contain_text("600 of 600, 2 tolerated")
    expect(page.get_by_text("The same parameters: mode.")).to_be_visible()
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not wide, "it scrolls sideways"
    assert grave(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_the_title_of_a_run_is_its_flow_and_parameters(opened, server, size):
    run = server.ran("crunching", count=12)["id"]
    page = opened(size)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/ui/runs/{run}")
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text('crunching count=12 mode="fast"')
    page.get_by_role("button", name=f"Copy the id {run}").click()
    expect(page.get_by_text("The id is copied")).to_be_attached()
    assert page.evaluate("navigator.clipboard.readText()") == run
    started = page.locator(".run-facts time")
    expect(started).to_have_text(re.compile(r"20\d\d.*:\d\d.* [A-Z]{2,4}[+-]?\d*$"))
    expect(started).to_have_attribute("title", re.compile(r"20\d\d-.* UTC\)$"))
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not wide, "it scrolls sideways"
    assert grave(page) == []


def test_the_colours_are_the_systems_until_others_are_chosen(opened):
    page = opened(scheme="dark")
    page.goto("/ui/flows")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    for name in ("system", "light"):
        page.get_by_role("button", name=f"Colours: {name}").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="light")
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Colours: dark").click()
    assert page.evaluate(ground) != dark


def test_the_keyboard_reaches_pages_rows_and_the_list_of_keys(opened, server):
    run = server.ran("crunching", count=4)["id"]
    page = opened()
    page.goto("/ui/flows")
    page.keyboard.press("g")
    page.keyboard.press("r")
    row = page.get_by_role("row", name=run)
    expect(row).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type(f"{run} ? g f")
    expect(page.get_by_role("searchbox")).to_have_value(f"{run} ? g f")
    page.get_by_role("searchbox").blur()
    while not row.get_by_role("link", name=run).evaluate("link => link === document.activeElement"):
        page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{run}$"))
    expect(page.get_by_role("link", name="Logs")).to_be_visible()
    page.keyboard.press("3")
    expect(page).to_have_url(re.compile(f"{run}/logs$"))
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keyboard")
    expect(keys).to_contain_text("Search runs")
    assert grave(page) == []
    keys.get_by_label("use these keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("?")  # which turns them on again
    expect(page).to_have_url(re.compile(f"{run}/logs$"))
    keys.get_by_label("use these keys").check()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page).to_have_url(re.compile(f"{run}$"))


@pytest.mark.parametrize("size", SIZES)
def test_runs_are_cancelled_and_resumed_together(opened, server, size):
    runs = [server.start("waiting", count=count) for count in (2001, 2002)]
    for run in runs:
        server.until_status(run, "running")
    page = opened(size)
    page.goto("/ui/runs?flow=waiting&status=running&status=cancelled")
    chosen = page.get_by_role("group", name="Selected runs")
    expect(page.get_by_label(f"Select {runs[1]}")).to_be_visible()
    expect(chosen).to_be_hidden()
    for run in runs:
        page.get_by_label(f"Select {run}").check()
    expect(chosen).to_contain_text("2 runs selected")
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not wide, "it scrolls sideways"
    assert grave(page) == []
    chosen.get_by_role("button", name="Cancel 2…").click()
    page.get_by_role("button", name="Cancel 2 runs").click()
    assert [server.ended(run)["status"] for run in runs] == ["cancelled"] * 2
    for run in runs:
        page.get_by_label(f"Select {run}").check()
    chosen.get_by_role("button", name="Resume 2…").click()
    page.get_by_role("button", name="Resume 2 runs").click()
    expect(chosen).to_be_hidden()
    for run in runs:
        server.until_status(run, "running")
        server.client.post(f"/runs/{run}/cancel", json={})
        assert len(server.ended(run)["resumes"]) == 1


def test_the_trend_of_a_flow_leads_to_its_runs(opened, place, server):
    place.shut()
    server.ran("crunching", count=10)
    run = server.ran("crunching", count=100)
    page = opened()
    page.goto("/ui/flows/crunching")
    trend = page.get_by_role("region", name="Trend")
    chart = trend.get_by_role("img", name=re.compile("^Failed items of the latest runs"))
    expect(chart).to_be_visible()
    expect(trend).to_contain_text(re.compile(r"\d+ succeeded"))
    box = chart.bounding_box()
    newest = {"x": box["width"] - 2, "y": box["height"] - 2}
    chart.hover(position=newest)
    expect(trend).to_contain_text("1 of 100 items failed")
    assert grave(page) == []
    chart.click(position=newest)
    expect(page).to_have_url(re.compile(f"/ui/runs/{run['id']}$"))


def test_a_line_of_code_opens_in_the_editor(opened, place, server):
    place.shut()
    run = server.ran("crunching", count=100)["id"]
    page = opened()
    page.goto(f"/ui/runs/{run}")
    line = 1 + (place.folder / "flows.py").read_text().split("\n").index(
        '        raise ValueError(f"no number {number}")'
    )
    link = page.get_by_role("link", name=f"flows.py:{line}")
    expect(link).to_have_attribute("href", f"vscode://file{place.folder}/flows.py:{line}")
    page.get_by_text("Traceback").click()
    frame = page.get_by_role("link", name=f"line {line}")
    expect(frame).to_have_attribute("href", f"vscode://file{place.folder}/flows.py:{line}")


def test_a_scheduled_flow_is_run_at_once(opened, server):
    page = opened()
    page.goto("/ui/schedules")
    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(re.compile(r"/ui/runs/\d{8}-"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("waiting")
    server.client.post(f"/runs/{page.url.rpartition('/')[2]}/cancel", json={})


def test_what_became_of_a_schedules_times_is_shown(opened, place, server):
    def tick(outcome):
        now, day = time.time(), 86_400
        with closing(sqlite3.connect(place.folder / "lokki.db")) as connection, connection:
            connection.execute("UPDATE schedules SET since = ?, last = ?", (now - day, now - 1))
        return until(
            lambda: [
                each["run"]
                for each in server.get("/schedules/waiting")["ticks"]
                if each["outcome"] == outcome
            ],
            f"a time that was {outcome}",
        )[0]

    until(lambda: server.get("/schedules/waiting")["next"], "a schedule that is followed")
    run = tick("started")
    tick("skipped")
    page = opened()
    page.goto("/ui/schedules")
    page.get_by_text("History").click()
    past = page.get_by_role("group").get_by_role("listitem")
    expect(past.first).to_contain_text(f"skipped: {run} had not ended")
    expect(past.nth(1)).to_contain_text(f"started {run}")
    assert grave(page) == []
    server.client.post(f"/runs/{run}/cancel", json={})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_page_has_a_serious_violation_of_accessibility(opened, place, server, size, scheme):
    place.shut()
    run = server.ran("crunching", count=1000)["id"]
    page = opened(size, scheme)
    for path in (
        *("/ui/runs", "/ui/flows", "/ui/flows/crunching", "/ui/schedules"),
        *(f"/ui/runs/{run}", f"/ui/runs/{run}/items", f"/ui/runs/{run}/logs"),
    ):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("load")
        wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not wide, f"{path} scrolls sideways"
        assert grave(page) == [], path


def test_the_first_page_is_small(opened, server):
    server.ran("crunching", count=10)
    page = opened()
    page.goto("/ui/runs")
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    sizes = page.evaluate(
        "['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))"
        ".map((entry) => entry.encodedBodySize)"
    )
    assert len(sizes) > 10
    assert sum(sizes) <= 150_000


def grave(page):
    """The violations of accessibility that axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


def test_a_page_that_is_still_loading_has_no_serious_violation(opened, server):
    run = server.ran("crunching", count=10)["id"]
    page = opened()
    held = []
    page.route("**/strip?*", lambda route: held.append(route))
    page.goto(f"/ui/runs/{run}")
    expect(page.get_by_role("slider")).to_be_visible()
    assert grave(page) == []
    assert len(held) == 1
    held[0].continue_()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuemax", "9")
