"""Puts the contracts on a chain: all of them, or none where the chain is too old for them or the wallet too empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eth_account.signers.local import LocalAccount
from web3 import Web3

from fl.chain.artifacts import artifact
from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.errors import NoFunds
from fl.chain.escrow import PARTS, Escrow
from fl.chain.fork import check_fork
from fl.chain.sender import Sent

_GAS_A_PART, _GAS_A_BYTE = 300_000, 250  # more than a part of the contract takes: 200 to store a byte, 16 to send it


def put_contracts(
    w3: Web3,
    *,
    url: str,
    account: LocalAccount,
    token: str | None = None,
    along: int = 0,
    spent: Callable[[str, Sent], None] = lambda name, sent: None,
) -> Deployment:
    """Put the contract, and a devnet token unless there is one, on a chain.

    Args:
        w3: The chain.
        url: By which it is reached, for the deployment file.
        account: Pays the gas.
        token: Address of an ERC-20 to use; a mintable one is put there if none is named.
        along: Wei of ETH that the account has to have for what it does next, beside the gas.
        spent: Told of each transaction and its name.
    Raises: before anything is sent OldChain, NoFunds if the account has too little ETH, NoContract if `token` is not a contract.
    """
    chain_id = w3.eth.chain_id
    held = w3.eth.get_balance(account.address)
    if held == 0:
        raise NoFunds(address=account.address, chain_id=chain_id)
    check_fork(w3)
    if token:
        Token(w3, token)
    # All or nothing: a wallet that is empty in the middle would have paid for parts that nobody uses.
    needed = gas_of(PARTS if token else ("DevToken", *PARTS)) * 3 * w3.eth.gas_price // 2 + along
    if held < needed:
        raise NoFunds(address=account.address, chain_id=chain_id, held=held, needed=needed, purpose="a deployment")
    if token:
        paid_in = token
    else:
        made, sent = Token.deploy(w3, account=account)
        spent("deploy_token", sent)
        paid_in = made.address
    escrow, parts = Escrow.deploy(w3, account=account)
    for part in parts:
        spent("deploy_contract", part)
    return Deployment(chain_id=chain_id, url=url, contract=escrow.address, token=paid_in, block=parts[-1].block)


def gas_of(names: Sequence[str]) -> int:
    """Gas that putting these contracts on a chain does not exceed."""
    return sum(_GAS_A_PART + _GAS_A_BYTE * (len(artifact(name).bytecode) // 2) for name in names)
