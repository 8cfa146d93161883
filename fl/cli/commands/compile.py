"""`fl compile`: Solidity → the artifacts that deploying uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fl.chain.anvil import CHECKOUT_CONTRACTS
from fl.chain.compile import compile_contracts, write_artifacts
from fl.cli.arguments.key_value import parse

KNOWN = {
    "contracts": "the contracts/ folder of a checkout",
    "solc": "npm (the pinned WebAssembly compiler), install:VERSION (py-solc-x downloads it), or a path",
}


def main(arguments: Sequence[str]) -> None:
    """Compile and say which artifacts changed."""
    values = parse(arguments, known=KNOWN, command="compile")
    contracts = Path(values.get("contracts", CHECKOUT_CONTRACTS)).resolve()
    compiled = compile_contracts(contracts=contracts, solc=values.get("solc", "npm"))
    changed = {path.stem for path in write_artifacts(compiled)}
    for name, content in compiled.items():
        size = (len(content["bytecode"]) - 2) // 2
        print(
            f"{name}: {size} bytes to deploy, solc {content['solc']}, {'changed' if name in changed else 'unchanged'}"
        )
