"""The page of threats names tests: each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threats.md").read_text()


def test_every_test_that_the_page_of_threats_names_is_there():
    sources = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "contracts" / "test").rglob("*.t.sol")]
    known = {name for path in sources for name in re.findall(r"(?:def|function) (test_\w+)\(", path.read_text())}
    files = {path.name for path in sources}
    named = [name for quoted in re.findall(r"`([^`]+)`", PAGE) for name in re.findall(r"\btest_\w+(?:\.py)?", quoted)]
    assert len(named) > 80
    assert [name for name in named if name not in known and name not in files] == []


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"`((?:tests|contracts|scripts|fl|clients)/[\w./-]+)", PAGE))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []
