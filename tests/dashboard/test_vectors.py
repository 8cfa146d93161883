"""The browser's own tree, payout and header hash, held against the vectors that Python and Solidity read."""

import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"
SENTENCES = WEB.parent / "tests" / "report" / "explanations.json"


def test_the_browser_computes_trees_payouts_and_header_hashes_as_python_and_solidity_do():
    if not (WEB / "node_modules" / "esbuild").exists():
        pytest.skip("the tools are not installed; npm install in web/ fetches them")
    vectors = WEB.parent / "tests" / "vectors"
    done = subprocess.run(
        ["node", "vectors.mjs", str(vectors), str(SENTENCES)],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 50  # proofs, pays and hashes that were compared
