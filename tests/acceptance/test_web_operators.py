"""The web page for operators, in a real browser on a real server: fleet, explanations, what-if, tenants, webhooks."""

from __future__ import annotations

import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Page, expect

from .conftest import Server

pytestmark = pytest.mark.xdist_group("acceptance")  # one server, and its engines start once


@pytest.fixture
def receiver() -> Iterator[list[str]]:
    """Somebody's server for webhooks: its address, then the event of each message it got."""
    got: list[str] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.extend(re.findall(r'"type":"([a-z.]+)"', body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    listening = HTTPServer(("127.0.0.2", 0), Answering)
    got.append(f"http://127.0.0.2:{listening.server_port}/ends")
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield got
    listening.shutdown()
    thread.join()
    listening.server_close()


def one_that_waits(server: Server) -> str:
    """A job of the paused model; an order is carried out within a second or so."""
    for _ in range(30):
        asked = server.http.post(
            "/v1/jobs", json={"model": "synthetic", "inputs": {"seconds": 0}}, headers={"Prefer": "wait=2"}
        ).json()
        if asked["status"] == "queued":
            return str(asked["id"])
    pytest.fail("the model was never paused")


def test_why_a_job_waits_is_told_in_words(page: Page, server: Server) -> None:
    server.http.post("/v1/models/synthetic/pause", json={"note": "a new card is built in"})
    try:
        job = one_that_waits(server)
        page.goto(f"/?model=synthetic&job={job}")
        page.get_by_role("button", name="Why?").click()
        expect(page.get_by_role("main").get_by_role("listitem").first).to_contain_text("paused by an operator")
        expect(page.get_by_text("a new card is built in")).to_be_visible()
        page.get_by_role("button", name="Language").click()
        page.get_by_role("menuitem", name="中文").click()
        told = page.get_by_role("main").get_by_role("listitem").first
        expect(told).to_contain_text("模型已被操作员暂停")
        expect(told).to_contain_text("需要操作员恢复该模型")
        expect(told).to_contain_text("a new card is built in")
    finally:
        server.http.post("/v1/models/synthetic/resume")
    expect(page.get_by_text("计算用时")).to_be_visible()


def test_an_operator_pauses_scales_and_sends_a_worker_away(page: Page, server: Server) -> None:
    body = {"model": "synthetic", "inputs": {"seconds": 0}}
    server.run("synthetic", seconds=0)
    page.goto("/fleet?model=synthetic")
    main = page.get_by_role("main")
    main.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("textbox", name="Why").fill("a new card is built in")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert")).to_contain_text("a new card is built in")
    waits = server.http.post("/v1/jobs", json=body).json()["id"]
    main.get_by_role("button", name="Resume").click()
    assert server.finished(waits)["status"] == "completed"
    main.get_by_role("button", name="Scale by hand").click()
    page.get_by_role("textbox", name="Replicas").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(page.get_by_text("1 replica, set by hand")).to_be_visible()
    main.get_by_role("button", name="Back to automatic").click()
    expect(page.get_by_text("1 replica, set by hand")).to_have_count(0)
    label = main.get_by_role("button", name=re.compile("^Drain ")).first.get_attribute("aria-label")
    main.get_by_label(f"{label}").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    expect(page.locator(f'button[aria-label="{label}"]:not([disabled])')).to_have_count(0)


def test_policies_are_tried_on_invented_traffic_and_the_settings_that_won_are_there_to_copy(page: Page) -> None:
    page.goto("/what-if")
    page.get_by_text("Invented", exact=True).click()
    page.get_by_role("textbox", name="Days").fill("0.1")
    page.get_by_role("textbox", name="Mean load").fill("2")
    page.get_by_role("textbox", name="This share").fill("90")
    page.get_by_role("button", name="Run the simulation").click()
    expect(page.get_by_role("heading", name="The settings that won")).to_be_visible()
    assert {row.split("\t")[0] for row in page.locator("tbody tr").all_inner_texts()} == {"tide", "hpa", "kpa", "ray"}
    lines = page.locator("pre").filter(has_text="[models.MODEL]").inner_text()
    assert tomllib.loads(lines)["models"]["MODEL"]["max_replicas"] >= 1
    for chart in ("Cost", "Wait of 95 % of jobs, at most", "Replicas", "Queue"):
        expect(page.get_by_text(chart, exact=True).first).to_be_visible()


def test_what_arrived_here_is_replayed_too(page: Page, server: Server) -> None:
    for _ in range(3):
        server.run("synthetic", seconds=0.01)
    page.goto("/what-if")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="Synthetic").click()
    page.get_by_role("switch", name="Look for the cheapest settings").press("Space")
    page.get_by_role("button", name="Run the simulation").click()
    expect(page.get_by_role("heading", name="synthetic-24h")).to_be_visible()


def test_a_key_is_shown_once_and_revoked_after_one_question(page: Page, server: Server) -> None:
    page.goto("/tenants?tab=keys")
    page.get_by_role("button", name="Make a key").click()
    page.get_by_role("textbox", name="Tenant").last.fill("studio-a")
    page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
    key = page.get_by_test_id("secret").inner_text()
    with_it = {"Authorization": f"Bearer {key}"}
    assert server.http.get("/v1/jobs", headers=with_it).status_code == 200
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text(key)).to_have_count(0)
    page.get_by_role("button", name=f"Revoke {key[:11]}").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row").filter(has_text=key[:11])).to_contain_text("revoked")
    assert server.http.get("/v1/jobs", headers=with_it).status_code == 401


def test_what_was_used_is_told_by_day_and_model(page: Page, server: Server) -> None:
    server.run("synthetic", seconds=0)
    page.goto("/tenants?tenant=*")
    expect(page.get_by_role("row").filter(has_text="default").first).to_be_visible()
    page.get_by_text("Jobs", exact=True).first.click()
    expect(page.get_by_text("Jobs by day")).to_be_visible()


def test_a_webhook_is_told_and_told_again(page: Page, server: Server, receiver: list[str]) -> None:
    page.goto("/webhooks")
    page.get_by_role("button", name="Add a webhook").first.click()
    page.get_by_role("textbox", name="Address").fill(receiver[0])
    page.get_by_role("dialog").get_by_role("button", name="Add a webhook").click()
    expect(page.get_by_test_id("secret")).to_contain_text("whsec_")
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("It answered")).to_be_visible()
    server.run("synthetic", seconds=0)
    page.get_by_role("button", name="Deliveries").click()
    row = page.get_by_role("row").filter(has_text="job.completed")
    expect(row).to_contain_text("delivered")
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text("2 sendings")
    assert receiver.count("job.completed") == 2
    page.get_by_role("switch").press("Space")
    expect(page.get_by_role("alert")).to_contain_text("Switched off")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nobody is told yet")).to_be_visible()
