"""A real Chromium, the page of a run in it, and what it was asked for and said on the way."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from fl.dashboard.app import dashboard_app

NONE: Mapping[str, Callable] = {}
PATIENCE_MS = 90_000  # of whatever is waited for; the machine may be busy
# Kept where a person finds them, and where continuous integration collects them.
SCREENSHOTS = Path(__file__).resolve().parents[2] / "runs" / "screenshots"


def find_chromium() -> str | None:
    """The machine's own browser: none is downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module."""
    found = find_chromium()
    if found is None:
        assert not os.environ.get("CI"), "continuous integration has to have Chromium on PATH"
        pytest.skip("there is no Chromium on PATH; install one to test the page as a person sees it")
    with sync_playwright() as playwright:
        # Off: the sandbox, which root and containers cannot have, and what a browser asks its maker for in the background.
        flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=found, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a context of its own; at the end no error was logged and no other host was asked.

    Of the files named in `absent`, a browser logs that there is none.
    """
    with ExitStack() as stack:
        seen: list[str] = []

        def open_tab(
            url: str,
            *,
            width: int = 1280,
            before: str = "",
            functions: Mapping[str, Callable] = NONE,
            absent: Sequence[str] = (),
            **options: object,
        ) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 900}, **options)
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            own = urlsplit(url).netloc
            page.on("pageerror", lambda error: seen.append(f"error: {error}"))
            page.on(
                "console",
                lambda line: (
                    line.type == "error"
                    and not line.location["url"].endswith(tuple(absent))
                    and seen.append(f"console: {line.text} {line.location['url']}")
                ),
            )
            page.on(
                "request",
                lambda request: (
                    urlsplit(request.url).netloc not in (own, "")
                    and seen.append(f"another host was asked: {request.url}")
                ),
            )
            for name, function in functions.items():
                page.expose_function(name, function)
            if before:
                page.add_init_script(before)
            page.goto(url)
            return page

        yield open_tab
        assert seen == []


@pytest.fixture
def photograph() -> Callable[[Page, str], None]:
    """Keeps a picture of the whole page under runs/screenshots."""

    def take(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return take


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The page of a folder on a free port of this process; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        app = dashboard_app(folder)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        app.state.closing.set()
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """Serves folders until the test ends."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(serve(folder))
