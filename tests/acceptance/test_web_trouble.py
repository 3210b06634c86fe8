"""The web page of a server that has trouble: it is started again, its canary fails, its fleet has to grow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from fault.pausing import VARIABLE
from springtide.testing.servers import free_port

from .conftest import Server, opened
from .test_rollout import CONFIG as CANARY
from .test_rollout import ENGINE
from .web_steps import more, start

pytestmark = pytest.mark.xdist_group("web")
CONFIG = f"""
{CANARY}
[models.burst]
engine = "pausing:Pausing"
max_replicas = 3
scaling.wait_s = 1
"""


class Restarted:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        (folder / "failing.py").write_text(ENGINE)
        (folder / "springtide.toml").write_text(CONFIG)
        self._folder = folder
        self.pause = folder / "pause"
        paths = (str(folder), str(Path(__file__).parents[1] / "fault"), os.environ.get("PYTHONPATH", ""))
        self._variables = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "SPRINGTIDE_SERVER__PORT": str(free_port()),
            VARIABLE: str(self.pause),
        }
        self.server = Server(folder, self._variables)
        self.url = self.server.url

    def again(self) -> None:
        self.server = Server(self._folder, self._variables)


@pytest.fixture(scope="module")
def own(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    made = Restarted(tmp_path_factory.mktemp("own"))
    yield made
    made.server.close()


@pytest.fixture
def page(browser: Browser, own: Restarted) -> Iterator[Page]:
    with opened(browser, own.url) as made:
        yield made


def test_a_reload_and_a_lost_network_in_the_middle_of_a_job_lose_nothing(own: Restarted, page: Page) -> None:
    own.pause.touch()
    page.goto("/?model=burst")
    more(page, Seconds="0.5", Steps="20")
    start(page)
    heard = page.get_by_test_id("heard")
    expect(heard).to_have_text(re.compile("^running"))
    page.reload()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("reconnecting")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("reconnecting")).to_have_count(0)
    expect(heard).to_have_text(re.compile("^running"))
    own.pause.unlink()
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()
    expect(heard).to_have_text("completed")


def test_a_server_that_is_started_again_goes_on_with_the_job_on_the_screen(own: Restarted, page: Page) -> None:
    own.pause.touch()  # it runs for as long as that is there
    body = {"model": "burst", "inputs": {"seconds": 0.5, "steps": 20}}
    job = own.server.http.post("/v1/jobs", json=body).json()["id"]
    page.goto(f"/?model=burst&job={job}")
    expect(page.get_by_text("running", exact=True).last).to_be_visible()  # it may be told to screen readers too
    own.pause.unlink()
    own.server.close()
    expect(page.get_by_text("reconnecting")).to_be_visible()
    own.again()
    expect(page.get_by_text("reconnecting")).to_have_count(0)
    expect(page.get_by_text(re.compile("s of computing"))).to_be_visible()
    expect(page.get_by_text(job)).to_be_visible()


def test_a_canary_is_seen_beside_its_elder_and_what_became_of_it(own: Restarted, page: Page) -> None:
    page.goto("/models")
    share = {version: page.get_by_role("progressbar", name=f"Share of jobs {version}") for version in "12"}
    expect(share["1"]).to_have_attribute("aria-valuenow", "100")
    rollout = "/v1/models/synthetic/rollout"
    own.server.http.post(rollout, json={"version": "2", "weight": 10, "min_samples": 5}).raise_for_status()
    expect(page.get_by_text(re.compile("2 is being tried beside 1 since"))).to_be_visible()
    expect(share["1"]).to_have_attribute("aria-valuenow", "90")
    expect(share["2"]).to_have_attribute("aria-valuenow", "10")
    own.server.http.patch(rollout, json={"weight": 50}).raise_for_status()
    expect(share["2"]).to_have_attribute("aria-valuenow", "50")
    body = {"model": "synthetic", "inputs": {"seconds": 0}}
    for _ in range(40):
        own.server.http.post("/v1/jobs", json=body)
    told = page.get_by_role("alert").filter(has_text="2 was taken back")
    expect(told).to_contain_text(re.compile(r"\d+ of its \d+ jobs failed, of the other version 0 of \d+"))
    expect(told).to_contain_text(re.compile(r"1: \d+ jobs?, 0.0 % failed, P95 .* · 2: \d+ jobs, 100.0 % failed"))
    expect(share["1"]).to_have_attribute("aria-valuenow", "100")
    expect(page.get_by_role("row").filter(has_text="failing:Failing")).to_contain_text("aborted")
    page.goto("/fleet?model=synthetic")
    why = page.get_by_role("button", name=re.compile("^ROLLOUT"))
    expect(why).to_contain_text("A rollout was aborted for its figures")
    page.get_by_role("button", name="Language").click()
    page.get_by_role("menuitem", name="中文").click()
    expect(why).to_contain_text("灰度因指标变差被中止")


def test_an_operator_clicks_a_mark_of_the_timeline_and_reads_why_the_fleet_grew(own: Restarted, page: Page) -> None:
    body = {"model": "burst", "inputs": {"seconds": 2}}
    for job in [own.server.http.post("/v1/jobs", json=body).json()["id"] for _ in range(8)]:
        own.server.finished(job)
    page.goto("/fleet?model=burst")
    mark = page.locator(".recharts-reference-line line").last
    box = mark.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + 1, box["y"] + box["height"] / 2)
    told = page.get_by_role("status").filter(has=page.get_by_test_id("figures"))
    expect(told).to_contain_text(re.compile(r"\d → \d"))
    expect(told).to_contain_text(re.compile(r"\d+ waiting, .*: \d wanted"))
    expect(told).to_contain_text(re.compile(r"wished for \d"))
    expect(told).to_contain_text("jobs waiting")
    expect(told).to_be_in_viewport()
    expect(mark).to_be_in_viewport()
