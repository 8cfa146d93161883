"""Gas of each call, as isolated transactions with their calldata: the Foundry tests of contracts/test/Gas.t.sol measure it.

`post` is flat in the number of clients. The two vectors of a refuted challenge have 242 blocks (LeNet) and 2^20 blocks.
`naive_push_1000` is what one transfer to each of 1,000 clients in one transaction costs, for comparison. The figures of
10,000 clients take most of the time: about four minutes, or clients=1000 leaves them out. A figure more than 2 % above
its committed snapshot, or one that is not measured any more, ends the bench with status 1 after the report.
"""

from __future__ import annotations

import json
import subprocess
import sys

from measurement import ROOT, report, settings

SNAPSHOTS = ROOT / "contracts" / "snapshots"
TOLERANCE = 0.02
# The selections of forge that measure a snapshot; the one of 10,000 clients is left out of ordinary test runs.
RUNS = {
    "gas": ["--match-contract", "Gas"],
    "gas_large": ["--match-contract", "LargeGas", "--match-test", "test_slow", "--no-match-test", "none"],
}
NAMES = {
    "post_1": "post_1_of_1000",
    "post_3": "post_3_of_10",
    "join": "join",
    "join_by_permit": "join_by_permit",
    "approve": "approve",
    "claim_first_1000": "claim_first_1000",
    "claim_later_1000": "claim_later_1000",
    "claim_batched_later": "claim_ranged_later_1000",
    "refute": "refute_242",
    "refute_2_20": "refute_1048576",
    "prove_transition": "prove_transition",
    "release_range": "release_range_100",
    "request_leaf": "request_leaf",
    "show_leaf": "show_leaf_3",
    "naive_push_1000": "naive_push_1000",
}


def main() -> None:
    """Measure afresh, leave the committed snapshots as they are, report and compare."""
    values = settings({"clients": "10000"})
    if values["clients"] not in ("1000", "10000"):
        sys.exit(f"bench: clients is {values['clients']}; write 1000 or 10000")
    names = ["gas"] if values["clients"] == "1000" else ["gas", "gas_large"]
    committed = {name: _read(name) for name in names}
    measured = {name: _measure(name) for name in names}
    everything = {key: value for figures in measured.values() for key, value in figures.items()}
    by_clients = {key: value for key, value in everything.items() if key.startswith(("post_1_", "claim_"))}
    figures = {name: everything.get(key) for name, key in NAMES.items()}
    report("gas", {**figures, "by_clients": by_clients, "floors": floors(_read("calldata"), everything)})
    wrong = [line for name in names for line in differences(committed[name], measured[name])]
    if wrong:
        sys.exit("\n".join(f"bench: {line}" for line in wrong))


def differences(committed: dict[str, int], measured: dict[str, int]) -> list[str]:
    """What is wrong with measured figures against the committed ones, a line each."""
    missing = [f"{name} is in the snapshot and was not measured" for name in committed if name not in measured]
    new = [f"{name} was measured and is not in the snapshot" for name in measured if name not in committed]
    worse = [
        f"{name} takes {measured[name]} gas, the snapshot says {value}"
        for name, value in committed.items()
        if measured.get(name, 0) > value * (1 + TOLERANCE)
    ]
    return missing + new + worse


def floors(calldata: dict[str, int], measured: dict[str, int]) -> dict[str, dict[str, float]]:
    """What each call's calldata alone would cost, by EIP-7623 and at EIP-7976's 64 gas a byte, and the second over the measured gas.

    Args:
        calldata: The snapshot of that name: `CALL_7623` and `CALL_7976` in gas.
        measured: Gas of each call, with its calldata.
    """
    named = {"post_1": "post_1_of_1000", "post_3": "post_3_of_10", "join": "join", "refute_242": "refute_242"}
    named |= {f"claim_{clients}": f"claim_later_{clients}" for clients in (10, 100, 1000)}
    return {
        call: {
            "7623": calldata[f"{call}_7623"],
            "7976": calldata[f"{call}_7976"],
            "7976_over_measured": round(calldata[f"{call}_7976"] / measured[key], 2),
        }
        for call, key in named.items()
    }


def _measure(name: str) -> dict[str, int]:
    """Run the tests that write a snapshot, read it and put the committed one back."""
    path = SNAPSHOTS / f"{name}.json"
    committed = path.read_text()
    path.unlink()  # forge writes what it measured; what an earlier run left must not pass for it
    try:
        run = subprocess.run(
            ["node", "scripts/forge.js", "test", *RUNS[name]],
            cwd=ROOT / "contracts",
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            sys.exit(f"bench: the gas tests failed\n{run.stdout[-3000:]}{run.stderr[-1000:]}")
        return _read(name)
    finally:
        path.write_text(committed)


def _read(name: str) -> dict[str, int]:
    path = SNAPSHOTS / f"{name}.json"
    return {key: int(value) for key, value in json.loads(path.read_text()).items()} if path.exists() else {}


if __name__ == "__main__":
    main()
