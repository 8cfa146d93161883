"""Whether a chain runs what the contract is compiled for."""

from __future__ import annotations

import re

from web3 import Web3
from web3.exceptions import Web3Exception

from fl.chain.errors import ChainError, ChainUnreachable

# PUSH0 (EIP-3855, Shanghai); MCOPY (EIP-5656) and TLOAD (EIP-1153), both Cancun; and an end.
_PROBE = bytes.fromhex("5f5f5f5e5f5c5000")
_UNKNOWN = re.compile(r"opcode|not ?activated|undefined instruction|invalid instruction|bad instruction", re.IGNORECASE)


class OldChain(ChainError):
    """A chain whose machine is older than the contract's code."""

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self.chain_id = chain_id

    def __str__(self) -> str:
        return (
            f"chain {self.chain_id} does not know instructions that the contract is made of (PUSH0, MCOPY, TLOAD); it takes a "
            "chain that has had the Cancun fork, of March 2024: with Anvil, leave --hardfork away or set it to cancun"
        )


def check_fork(w3: Web3) -> None:
    """Run the youngest instructions that the contract uses, in a call that sends nothing.

    Raises: OldChain if the chain does not know them; ChainUnreachable.
    """
    try:
        w3.eth.call({"data": _PROBE})
    except ChainUnreachable:
        raise
    except (Web3Exception, ValueError) as error:
        # Other refusals, such as of calls without a sender, say nothing of the chain.
        if _UNKNOWN.search(str(error)):
            raise OldChain(chain_id=w3.eth.chain_id) from error
