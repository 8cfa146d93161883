"""The browser's own tree, payout and header hash, held against the vectors that Python and Solidity read; its words against the report's."""

import json
import subprocess
from pathlib import Path

import pytest

from fl.report import wording

WEB = Path(__file__).resolve().parents[2] / "web"
SENTENCES = WEB.parent / "tests" / "report" / "explanations.json"


# What the page's `words.ts` and the report's `wording.py` both write.
FORMS = [
    *(
        ("tokens", wei)
        for wei in ("0", "1", "-1", "123456789012345678", "-2500000000000000000", f"{10**24 + 4 * 10**13}")
    ),
    *(("percent", share) for share in (0, 0.1234, 1.0)),
    *(("loss", value) for value in (0, 0.69314, -1.5, 123456.789)),
    *(("score", value) for value in (0, 0.00001, -0.00001, 0.0123, -0.5, 1234.56789)),
]


def test_the_browser_computes_and_writes_as_python_and_solidity_do(tmp_path):
    if not (WEB / "node_modules" / "esbuild").exists():
        pytest.skip("the tools are not installed; npm install in web/ fetches them")
    vectors = WEB.parent / "tests" / "vectors"
    forms = tmp_path / "forms.json"
    forms.write_text(json.dumps([[form, value, getattr(wording, form)(value)] for form, value in FORMS]))
    done = subprocess.run(
        ["node", "vectors.mjs", str(vectors), str(SENTENCES), str(forms)],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 50  # proofs, pays and hashes that were compared
