"""How a page is read: within its width, and by whoever needs contrast, names and a keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


def audit_accessibility(page: Page) -> None:
    """No rule of axe-core is broken."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed; npm install in web/ fetches it")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "async () => (await axe.run()).violations.map((rule) => [rule.id, rule.nodes.map((n) => n.html)])"
    )
    assert found == []


def fits(page: Page) -> bool:
    """Whether nothing makes the whole page scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def whole(page: Page) -> bool:
    """Whether the page fits, and no table has a column that is seen only by scrolling."""
    cut = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth + 1).length"
    return fits(page) and page.evaluate(cut) == 0
