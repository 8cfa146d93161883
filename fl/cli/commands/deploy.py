"""`fl deploy`: put token and contract on a devnet and write the deployment file that the other commands read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import cast

from eth_utils.address import to_checksum_address
from web3 import Web3

from fl.chain.anvil import running_anvil
from fl.chain.deploying import put_contracts
from fl.chain.deployment import BadDeployment, Deployment
from fl.chain.errors import ChainUnreachable, NotAnRpcUrl
from fl.chain.provider import PatientProvider
from fl.chain.rpc_url import key_note, shown, with_scheme
from fl.chain.sender import connect
from fl.chain.tokens import eth
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import address_of, is_whole
from fl.errors import ConfigError, FairshareError

KNOWN = {
    "chain": "anvil (the one at 127.0.0.1:8545, or a new one) or the RPC URL of a node",
    "id": "refuse any other chain id than this",
    "key": "keystore that pays for the deployment; on chain 31337 Anvil's first test account if not set",
    "token": "address of an ERC-20 to use; deploys a mintable devnet token if not set",
    "out": "deployment file to write, deployment.json by default",
    "port": "port of that Anvil, 8545 by default",
}
ANVIL_HOST, ANVIL_PORT = "http://127.0.0.1", 8545


class EarlierDeployment(FairshareError):
    """Something is in the way of the deployment file, and is not lost for it."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, found)
        self.path, self.found = path, found

    def __str__(self) -> str:
        return (
            f"{self.path} is there already: {self.found}; go on with it, or name another file with out=FILE to deploy a second "
            "contract. Nothing was sent"
        )


def main(arguments: Sequence[str]) -> None:
    """Deploy; if that started an Anvil, keep it until Ctrl-C."""
    values = parse(arguments, known=KNOWN, command="deploy", required=["chain"])
    out = Path(values.get("out", "deployment.json"))
    chain, expected = values["chain"], _integer(values.get("id"), "id")
    port = ANVIL_PORT if "port" not in values else _integer(values["port"], "port") or 0
    if not 0 < port < 65536:
        raise ConfigError(f"port is {values['port']!r}; set one from 1 to 65535")
    _try_to_write(out)
    if (":" in chain or "." in chain) and with_scheme(chain):  # a host, and not a word such as mainnet
        raise NotAnRpcUrl(url=chain)
    if chain != "anvil" and "://" not in chain:
        raise ConfigError(f"chain is {chain!r}; set anvil, or the URL of a node such as {ANVIL_HOST}:{ANVIL_PORT}")
    token = address_of(values["token"], setting="token") if "token" in values else None
    with ExitStack() as stack:
        started = False
        try:
            w3 = connect(f"{ANVIL_HOST}:{port}" if chain == "anvil" else chain, chain_id=expected)
        except ChainUnreachable:
            if chain != "anvil":
                raise
            log = out.with_suffix(".anvil.log")
            w3 = connect(stack.enter_context(running_anvil(log=log, port=port)), chain_id=expected)
            started = True
        earlier = _earlier(out, w3)
        account = signer(values.get("key"), chain_id=w3.eth.chain_id)
        held = w3.eth.get_balance(account.address)
        reached = cast(PatientProvider, w3.provider).endpoint_uri
        deployment = put_contracts(w3, url=reached, account=account, token=token)
        print(f"chain {deployment.chain_id} at {shown(deployment.url)}")
        print(f"contract {deployment.contract}\ntoken {deployment.token}")
        print(f"spent {eth(held - w3.eth.get_balance(account.address))} ETH on gas", flush=True)
        if earlier:
            kept = next(path for number in count(1) if not (path := out.with_name(f"{out.name}.{number}")).exists())
            out.rename(kept)
            print(f"{out} named {earlier}, which is gone: the chain was reset. It is kept as {kept}", flush=True)
        _write(deployment, out)
        print(f"written to {out}", flush=True)
        if note := key_note(deployment.url):
            print(f"note: {note}", flush=True)
        if started:
            print("Anvil runs until Ctrl-C; it forgets everything then", flush=True)
            threading.Event().wait()


def _try_to_write(out: Path) -> None:
    """Raises: ConfigError for a file that could not be written once everything is paid for."""
    if out.is_dir():
        raise ConfigError(f"out is {out}, which is a folder; name a file in it, such as {out / 'deployment.json'}")
    probe = out.with_name(out.name + ".try")
    if out.exists() and not out.is_file():
        return  # a device, such as /dev/stdout
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"out is {out}, which cannot be written ({error.strerror or error}); name another file"
        ) from None


def _earlier(out: Path, w3: Web3) -> str:
    """What the deployment file names that is no longer on chain; "" where there is no file. Raises: EarlierDeployment for all else."""
    if not out.is_file():
        return ""
    try:
        earlier = Deployment.read(out)
    except BadDeployment as error:
        raise EarlierDeployment(path=str(out), found=f"a file that is not a deployment ({error.problem})") from error
    found = f"contract {earlier.contract} on chain {earlier.chain_id}"
    if earlier.chain_id != w3.eth.chain_id or w3.eth.get_code(to_checksum_address(earlier.contract)):
        raise EarlierDeployment(path=str(out), found=found)
    return found


def _write(deployment: Deployment, out: Path) -> None:
    try:
        deployment.write(out)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written ({error.strerror or error}); the contract is there all the same: write its address, the "
            f"token's, the chain's id and URL, and block={deployment.block} into it by hand"
        ) from None


def _integer(text: str | None, setting: str) -> int | None:
    if text is None:
        return None
    if not is_whole(text):
        raise ConfigError(f"{setting} is {text!r}; write a whole number")
    return int(text)
