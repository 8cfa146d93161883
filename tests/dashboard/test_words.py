"""The page explains words as the glossary does."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_word_that_the_page_explains_is_explained_so_in_the_glossary():
    told = re.findall(r'^  (\w+): "(.+)",$', (ROOT / "web/src/glossary.tsx").read_text(), flags=re.MULTILINE)
    glossary = " ".join((ROOT / "docs/glossary.md").read_text().replace("*", "").split())
    assert len(told) > 10
    assert [word for word, sentence in told if sentence not in glossary] == []


def test_each_word_is_used_on_the_page():
    words = re.findall(r'^  (\w+): "', (ROOT / "web/src/glossary.tsx").read_text(), flags=re.MULTILINE)
    page = "".join(path.read_text() for path in (ROOT / "web/src").glob("*.tsx"))
    assert [word for word in words if f'<Term name="{word}"' not in page] == []
