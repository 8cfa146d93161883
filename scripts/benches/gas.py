"""Gas of each call, as isolated transactions with their calldata: the Foundry tests of contracts/test/Gas.t.sol measure it.

`post` is flat in the number of clients. The two vectors of a refuted challenge have 242 blocks (LeNet) and 2^20 blocks.
`naive_push_1000` is what one transfer to each of 1,000 clients in one transaction costs, for comparison.
"""

from __future__ import annotations

import json
import subprocess
import sys

from measurement import ROOT, report, settings

SNAPSHOT = ROOT / "contracts" / "snapshots" / "gas.json"
NAMES = {
    "post_1": "post_1_of_1000",
    "post_3": "post_3_of_10",
    "join": "join",
    "claim_first_1000": "claim_first_1000",
    "claim_later_1000": "claim_later_1000",
    "claim_batched_later": "claim_ranged_later_1000",
    "refute": "refute_242",
    "refute_2_20": "refute_1048576",
    "prove_transition": "prove_transition",
    "naive_push_1000": "naive_push_1000",
}


def main() -> None:
    """Measure afresh, leave the committed snapshot as it is, and report."""
    settings({})
    committed = SNAPSHOT.read_text()
    try:
        run = subprocess.run(
            ["node", "scripts/forge.js", "test", "--match-contract", "Gas"],
            cwd=ROOT / "contracts",
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            sys.exit(f"bench: the gas tests failed\n{run.stdout[-3000:]}{run.stderr[-1000:]}")
        measured = {name: int(value) for name, value in json.loads(SNAPSHOT.read_text()).items()}
    finally:
        SNAPSHOT.write_text(committed)
    by_clients = {name: value for name, value in measured.items() if name.startswith(("post_1_", "claim_"))}
    report("gas", {**{name: measured[key] for name, key in NAMES.items()}, "by_clients": by_clients})


if __name__ == "__main__":
    main()
