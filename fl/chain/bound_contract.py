"""One of our contracts at an address, ready to be asked in a millisecond."""

from __future__ import annotations

from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract.contract import Contract, ContractFunctions

from fl.chain.artifacts import artifact


class BoundContract(Contract):
    """What `w3.eth.contract(address=…, abi=…)` gives, as far as it is used here: `functions`, `encode_abi`, `decode_function_input`.

    web3 also checks the ABI, makes a class for every call, and finds each function twice over for a caller and for that class.
    Of Fairshare's ABI, which is checked when it is compiled, that takes eight times as long.
    """

    def __init__(self, w3: Web3, address: ChecksumAddress, *, name: str) -> None:
        # Not `super().__init__`, which is what takes so long.
        self.w3, self.address, self.abi = w3, address, artifact(name).abi  # type: ignore[assignment]
        self.functions = ContractFunctions(self.abi, w3, address)
