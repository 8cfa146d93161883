"""The documentation is true: every command and snippet of every page runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from docs.page_session import blocks_of, run_pages, sessions_of
from warm_process import warm_process

from fl.chain.anvil import find_anvil
from fl.cli.commands.completion import vocabulary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if any(block.language in ("sh", "python") for block in blocks_of(path))
)


@pytest.fixture(scope="module")
def commands(environment, tmp_path_factory):
    """A folder with `fl`, and `page-python` for snippets: this environment's, forked from one process that is warm."""
    folder = tmp_path_factory.mktemp("bin")
    with warm_process(folder / "socket", environment=environment) as call:
        for name, what in {"fl": "fl", "page-python": "python"}.items():
            (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(call)} {what} "$@"\n')
            (folder / name).chmod(0o755)
        yield folder


@pytest.mark.parametrize("pages", sessions_of(PAGES), ids=lambda pages: "+".join(page.stem for page in pages))
def test_every_command_and_snippet_runs(pages, commands, environment, tmp_path):
    # Anvil is called by name where a page pretends to be on another chain.
    path = [str(commands), str(Path(sys.executable).parent), str(find_anvil().parent), os.environ["PATH"]]
    done = run_pages(pages, folder=tmp_path, environment={**environment, "PATH": os.pathsep.join(path)})
    assert done.returncode == 0, done.stdout[-6000:]
    assert done.stdout.endswith("== the end\n"), done.stdout[-6000:]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def test_the_site_is_built_without_a_warning_and_asks_no_other_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"([^\"]+)\"", page.read_text())
        loaded += re.findall(
            r"<link[^>]* rel=\"(?:stylesheet|preload|preconnect|icon)\"[^>]* href=\"([^\"]+)\"", page.read_text()
        )
        assert loaded
        assert not [url for url in loaded if "//" in url], page


def test_the_page_of_commands_has_every_command_and_setting(site):
    text = (site / "reference" / "commands.html").read_text()
    for command, words in vocabulary().items():
        assert f"fl {command}<" in text
        for key in words.keys:
            assert f"<code>{key}=" in text, f"fl {command} {key}"


def test_no_page_shows_a_command_that_is_not_run():
    for page in DOCS.rglob("*.md"):
        for block in blocks_of(page):
            # What own-app.md shows as diffs is applied and run by test_own_app.py.
            shown = ("sh", "python", "yaml", "toml", "sql", *(["diff"] if page.name == "own-app.md" else []))
            assert block.language in shown, (page, block.language)
        shown = re.sub(r"^```(sh|python).*?^```$", "", page.read_text(), flags=re.M | re.S)
        assert not re.search(r"^(    )?(\$ )?fl [a-z]+", shown, re.M), (
            f"{page} shows a command outside of a block that is run"
        )


def test_no_command_has_a_bracket_or_star_that_another_shell_takes_for_a_pattern():
    """bash hands `a=[1,2]` on as it is; zsh, which macOS has, ends with "no matches found"."""
    pages = [*PAGES, ROOT / "README.md", *(ROOT / "deploy").rglob("*.md")]
    for page in pages:
        for block in blocks_of(page):
            if block.language in ("sh", "console"):
                bare = re.sub(r"\"[^\"]*\"|'[^']*'|\$\{[^}]*\}|\$\([^)]*\)|#.*", "", block.text)
                assert not (found := re.search(r"\S*[\[*?]\S*", bare)), f"{page}: {found[0]}"
