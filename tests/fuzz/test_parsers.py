"""Whatever somebody else wrote: it is read, or refused in words of ours, within a second.

The suite tries 20,000 inputs; `python tests/fuzz/long.py 1000000` tries a million, and says which one failed.
"""

import os
import time
from contextlib import suppress

import pytest
from fuzz.mutations import mutated
from fuzz.parsers import parsers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl.errors import FairshareError

INPUTS = 1000 if os.environ.get("LONG_TESTS") else 490  # of each parser: 20,000 in all
_LONGEST_S = 1.0  # of this process's own time


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The parsers by name, over a folder of their own."""
    return {parser.name: parser for parser in parsers(tmp_path_factory.mktemp("fuzz"))}


NAMES = [
    "json", "yaml", "spec", "schema", "manifest", "round.json", "leaves", "header.json", "blocks", "model", "bundle", "validation",
    "invite", "invite line", "deployment", "keystore", "node key", "receipts", "seen updates", "journal", "ledger", "kept receipts",
    "answer", "shard", "amount", "number", "archive", "saved model", "rpc answer", "access token", "head of a node's call",
    "announcement", "bundled code", "signed headers", "header that waits", "dealt data", "images", "workbook", "settings",
    "a run's settings", "overrides",
]  # fmt: skip


def test_every_parser_is_tried_and_reads_what_is_honest(known):
    assert list(known) == NAMES
    for parser in known.values():
        for seed in parser.seeds:
            if parser.name not in ("number",):  # which are whole, or not
                parser.read(seed)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaves_the_family_of_errors_or_hangs(known, name):
    parser = known[name]
    parser.read(parser.seeds[0])  # what is imported late is not timed

    @settings(max_examples=max(5, int(INPUTS * parser.share)), deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(rng=st.randoms(use_true_random=True), place=st.integers(0, 100))
    def tried(rng, place):
        data = mutated(parser.seeds[place % len(parser.seeds)], rng)
        # Twice before it is called slow: other threads' work is in the process's time too.
        for _ in range(2):
            started = time.process_time()
            with suppress(FairshareError):
                parser.read(data)
            if (took := time.process_time() - started) < _LONGEST_S:
                break
        assert took < _LONGEST_S, data[:200]

    tried()
