"""What a person does on the web page, in the words of its English catalogue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .conftest import PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def choose(page: Page, model: str) -> None:
    page.goto("/")
    page.get_by_role("button", name=re.compile(f"^{model}")).click()


def give(page: Page, label: str, path: Path) -> None:
    page.get_by_label(label, exact=True).first.set_input_files(path)


def more(page: Page, **fields: str) -> None:
    """Open the other options and fill these, by their labels."""
    page.get_by_role("button", name=re.compile("more option")).click()
    for label, value in fields.items():
        page.get_by_role("textbox", name=label, exact=True).fill(value)


def start(page: Page) -> None:
    page.get_by_role("button", name="Start").click()


def saved(page: Page, button: str, folder: Path) -> Path:
    """The file that a download button gives, under the name that it proposes."""
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(button)).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def tab_to(page: Page, goal: Locator, most: int = 60) -> None:
    """Press Tab until `goal` has the focus; it has to be seen there."""
    goal.wait_for(timeout=PATIENCE_MS)
    for _ in range(most):
        page.keyboard.press("Tab")
        if goal.evaluate("goal => goal === document.activeElement"):
            assert goal.evaluate(_SHOWS_FOCUS), "nobody sees where the focus is"
            return
    raise AssertionError(f"{most} times Tab, and never there: {goal}")


_SHOWS_FOCUS = """goal => {
  const style = getComputedStyle(goal);
  return goal.matches(':focus-visible') && (style.outlineStyle !== 'none' || style.boxShadow !== 'none');
}"""
