"""From a worker's report to the screen: a page of 200 jobs that run, in headless Chromium.

The gateway is the real one in a process of its own; this one takes the worker's place at the broker's socket and notes
when it said what. In the page each figure of progress is noted in the frame that shows it. Two pages: Batch, where all
200 jobs have a row that moves, and Studio, which follows one of the 200.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.fanout import BEAT_EVERY_S, WORKER
from benchmarks.plan import Plan
from benchmarks.product import Installation
from benchmarks.report import Goal, Report, percentile
from springtide.broker.protocol import Broker
from springtide.broker.remote import RemoteBroker
from springtide.domain.ids import ModelName
from springtide.domain.lease import Held, Lease, Progress, WorkerState

ROUNDS = 3
JOBS = 200
SECONDS = 10.0
EACH_S = 2  # reports a second of each job
SETTLE_S = 3.0  # the page has drawn all rows
MODEL = ModelName("matting")
CONFIG = f'[models.{MODEL}]\nengine = "{MODEL}"\nmax_replicas = 1\n'
BATCH = "springtide, 200 rows on the page Batch"
STUDIO = "springtide, one job on the page Studio"
WHAT = "a worker's report on the screen, 200 jobs running, p95"
GOALS = tuple(Goal(metric="p95_ms", bound=300, at_least=False, what=WHAT, system=name) for name in (BATCH, STUDIO))
NOTES = (
    "p50_ms, p95_ms: from the call that publishes a report to the frame of the page that shows its figure; browser, "
    "gateway and the worker's side share the machine.",
)
# Notes [figure, milliseconds] in the frame that follows a change of a bar.
WATCH = """() => {
  window.seen = [];
  const changed = new Set();
  let asked = false;
  const note = () => {
    asked = false;
    const now = performance.timeOrigin + performance.now();
    for (const bar of changed) window.seen.push([Number(bar.getAttribute("aria-valuenow")), now]);
    changed.clear();
  };
  new MutationObserver((records) => {
    for (const record of records) changed.add(record.target);
    if (!asked) { asked = true; requestAnimationFrame(() => setTimeout(note)); }
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-valuenow"] });
}"""


def measure(plan: Plan) -> Report:
    report = Report("screen", title="From a report to the screen", goals=GOALS)
    report.notes = list(NOTES)
    report.describe(BATCH, f"{JOBS} jobs, {EACH_S} reports a second each, all of them shown")
    report.describe(STUDIO, "the same, one of them shown")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    for number in range(min(plan.rounds, ROUNDS)):
        home = Installation(plan.folder / str(number), CONFIG)
        with home.gateway() as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(base_url=server.url, locale="en-US")
            count = 20 if plan.quick else JOBS
            _submit(page, plan.folder / f"pictures-{number}", count)
            telling = _Telling(RemoteBroker(home.broker_socket), count, 2.0 if plan.quick else SECONDS)
            telling.start()
            report.add(BATCH, _seen(page, telling))
            page.goto(f"/?model={MODEL}&job={telling.leases[0].id}")
            report.add(STUDIO, _seen(page, telling))
            telling.end()
            browser.close()
        print(f"round {number + 1}: {[one.rounds[-1] for one in report.systems.values()]}", file=sys.stderr, flush=True)
    return report


def _submit(page: Page, folder: Path, count: int) -> None:
    """On the page, as one would: so many pictures, and Start."""
    folder.mkdir(parents=True)
    held = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(held, "PNG")
    for number in range(count):
        (folder / f"{number}.png").write_bytes(held.getvalue())
    page.goto("/batch")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    page.get_by_role("button", name=f"Start {count}").click()
    page.get_by_text("waiting", exact=True).nth(count - 1).wait_for(timeout=120_000)


def _seen(page: Page, telling: _Telling) -> dict[str, float]:
    page.wait_for_timeout(SETTLE_S * 1000)
    page.evaluate(WATCH)
    said = telling.round()
    page.wait_for_timeout(1000)
    found: list[list[Any]] = page.evaluate("window.seen")
    late_ms = sorted(at_ms - said[key] * 1000 for figure, at_ms in found if (key := _key(figure)) in said)
    if not late_ms:
        raise RuntimeError(f"nothing was seen of {len(said)} reports")
    return {
        "p50_ms": percentile(late_ms, 0.5),
        "p95_ms": percentile(late_ms, 0.95),
        "most_ms": late_ms[-1],
        "samples": len(late_ms),
    }


def _key(percent: float) -> int:
    return round(percent * 1e6)


class _Telling(threading.Thread):
    """The worker's side, in a loop of its own. Each report has a figure of its own, to be known by."""

    def __init__(self, broker: Broker, count: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self._broker, self._count, self._rounds = broker, count, round(seconds * EACH_S)
        self._wanted, self._done, self._over = threading.Event(), threading.Event(), threading.Event()
        self._leased = threading.Event()
        self._said: dict[int, float] = {}
        self._number = 0
        self.leases: list[Lease] = []

    def round(self) -> dict[int, float]:
        """Tell for some seconds; when what was said, by the figure."""
        self._leased.wait()
        self._said = {}
        self._done.clear()
        self._wanted.set()
        self._done.wait()
        return self._said

    def end(self) -> None:
        self._over.set()
        self._wanted.set()
        self.join()

    def run(self) -> None:
        asyncio.run(self._tell())

    async def _tell(self) -> None:
        await self._broker.start()
        while len(self.leases) < self._count:
            self.leases += await self._broker.lease(MODEL, WORKER, self._count, time.time())
        self._leased.set()
        beating = asyncio.create_task(self._beat())
        while True:
            await asyncio.to_thread(self._wanted.wait)
            self._wanted.clear()
            if self._over.is_set():
                break
            await self._one_round()
            self._done.set()
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await self._broker.stop()

    async def _one_round(self) -> None:
        slots = [self.leases[first::20] for first in range(20)]
        began = time.perf_counter()
        for number in range(self._rounds):
            for place, slot in enumerate(slots):
                due = began + (number + place / len(slots)) / EACH_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                told: list[Progress] = []
                now = time.time()
                for lease in slot:
                    self._number += 1
                    fraction = 0.1 + self._number / 20_000
                    self._said[_key(fraction * 100)] = now
                    told.append(Progress(id=lease.id, attempt=lease.attempt, fraction=fraction, stage="rendering"))
                await self._broker.publish(MODEL, WORKER, told, now)

    async def _beat(self) -> None:
        while True:
            held = [Held(lease.id, lease.attempt) for lease in self.leases]
            await self._broker.beat(MODEL, WORKER, held, WorkerState.BUSY, time.time())
            await asyncio.sleep(BEAT_EVERY_S)
