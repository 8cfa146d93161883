"""Solidity → artifacts, with py-solc-x.

The compiler is the one that npm pins in contracts/ (WebAssembly, the same bits on every machine), or any native solc of
the user's, or one that py-solc-x downloads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import solcx
from solcx.exceptions import SolcError, SolcInstallationError
from solcx.wrapper import get_solc_version

from fl.chain.anvil import CHECKOUT_CONTRACTS
from fl.chain.errors import ChainError

ARTIFACTS = Path(__file__).parent / "artifacts"
# What each contract answers to: Fairshare passes the calls that it does not know on to Disputes, and that to Lifecycle,
# for want of room in one.
CONTRACTS = {
    "Fairshare": (
        "src/Fairshare.sol",
        "src/interfaces/IDisputes.sol",
        "src/interfaces/ILifecycle.sol",
        "src/interfaces/IEvaluators.sol",
    ),
    "Disputes": ("src/Disputes.sol",),
    "Lifecycle": ("src/Lifecycle.sol",),
    "DevToken": ("src/DevToken.sol",),
}


class CompileError(ChainError):
    """The contracts do not compile, or there is no compiler."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


def compile_contracts(*, contracts: Path = CHECKOUT_CONTRACTS, solc: str = "npm") -> dict[str, dict[str, Any]]:
    """Compile the project's contracts: name → {"abi", "bytecode", "solc"}.

    Args:
        contracts: The contracts/ folder of a checkout, with node_modules.
        solc: `npm` for the pinned compiler, `install:VERSION` to let py-solc-x download one, or a path.
    Raises: CompileError with the compiler's own words.
    """
    if not (contracts / "node_modules" / "@openzeppelin").exists():
        raise CompileError(problem=f"{contracts}/node_modules is incomplete; run `npm ci` in {contracts}")
    settings = json.loads((contracts / "solc.json").read_text())
    sources = {
        str(path.relative_to(contracts)): {"content": path.read_text()} for path in (contracts / "src").rglob("*.sol")
    }
    request = {
        "language": "Solidity",
        "sources": sources,
        "settings": {
            **settings,
            "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
        },
    }
    binary = _compiler(contracts, solc)
    try:
        # allow_paths and base_path serve a native solc; the npm wrapper reads imports relative to itself.
        output = solcx.compile_standard(
            request, solc_binary=binary, allow_paths=str(contracts), base_path=str(contracts)
        )
        version = str(get_solc_version(binary))
    except (SolcError, FileNotFoundError, PermissionError) as error:
        # py-solc-x puts the whole of input and output behind the first line of what solc said.
        said = str(getattr(error, "message", None) or error).strip()
        raise CompileError(problem=f"{binary} failed: {said}") from error
    return {
        name: {
            "abi": _joined(*(output["contracts"][path][path.split("/")[-1][:-4]]["abi"] for path in paths)),
            "bytecode": "0x" + output["contracts"][paths[0]][name]["evm"]["bytecode"]["object"],
            "solc": version,
        }
        for name, paths in CONTRACTS.items()
    }


def write_artifacts(compiled: dict[str, dict[str, Any]], *, folder: Path = ARTIFACTS) -> list[Path]:
    """Write one JSON file a contract; returns those whose content changed."""
    changed = []
    for name, content in compiled.items():
        path, text = folder / f"{name}.json", json.dumps(content, indent=1, sort_keys=True) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(path)
    return changed


def _joined(*abis: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every entry once, in order: two ABIs share the types' errors and events."""
    entries = {json.dumps(entry, sort_keys=True): entry for abi in abis for entry in abi}
    return list(entries.values())


def _compiler(contracts: Path, solc: str) -> Path:
    if solc == "npm":
        return contracts / "solc"
    if solc.startswith("install:"):
        version = solc.removeprefix("install:")
        try:
            solcx.install_solc(version)
        except (SolcInstallationError, OSError, ValueError) as error:
            raise CompileError(problem=f"py-solc-x could not install solc {version}: {error}; use solc=npm") from error
        return Path(solcx.install.get_executable(version))
    return Path(solc)
