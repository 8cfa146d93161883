"""An ERC-20 token, the devnet's own or a real one: balances, allowances and permits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from web3 import Web3

from fl.chain.artifacts import artifact
from fl.chain.bound_contract import BoundContract
from fl.chain.checked_requests import BadCallOutput
from fl.chain.errors import NoContract, TokenTooLow
from fl.chain.sender import Sent, ask, ask_all, send, send_all, url_of
from fl.chain.typed_data import Domain, Permit, sign


class Token:
    """An ERC-20 at an address. Raises: NoContract if there is no code at it."""

    def __init__(self, w3: Web3, address: str) -> None:
        self.w3 = w3
        self.address = to_checksum_address(address)
        if not w3.eth.get_code(self.address):
            raise NoContract(address=self.address, chain_id=w3.eth.chain_id, what="token")
        self._contract = BoundContract(w3, self.address, name="DevToken")

    @staticmethod
    def deploy(w3: Web3, *, account: LocalAccount) -> tuple[Token, Sent]:
        """Put the devnet's token on the chain: anybody may mint it, so it is worth nothing."""
        code = artifact("DevToken")
        sent = send(
            w3,
            w3.eth.contract(abi=code.abi, bytecode=code.bytecode).constructor(),
            account=account,
            name="deploy token",
        )
        return Token(w3, sent.created), sent

    def balance(self, account: str) -> int:
        """Wei held by an account."""
        return ask(self._contract.functions.balanceOf(account))

    def allowance(self, owner: str, spender: str) -> int:
        """Wei that a spender may take from an account."""
        return ask(self._contract.functions.allowance(owner, spender))

    def mint(self, to: str, amount: int, *, account: LocalAccount) -> Sent:
        """Make devnet tokens.

        Args:
            to: Whose they are.
            amount: Wei.
            account: Signs and pays the gas.
        Raises: Refused where the token is a real one.
        """
        return send(self.w3, self._contract.functions.mint(to, amount), account=account, name="mint")

    def mint_many(self, amounts: Mapping[str, int], *, account: LocalAccount) -> list[Sent]:
        """`mint` for many, by address, on a devnet that takes transactions as fast as they are sent."""
        calls = [self._contract.functions.mint(to, amount) for to, amount in amounts.items()]
        return send_all(self.w3, calls, account=account, name="mint")

    def nonces(self, accounts: Sequence[str]) -> list[int]:
        """The permit nonce of each account."""
        return ask_all([self._contract.functions.nonces(account) for account in accounts])

    def balances(self, accounts: Sequence[str]) -> list[int]:
        """`balance` of many accounts."""
        return ask_all([self._contract.functions.balanceOf(account) for account in accounts])

    def permit(
        self, spender: str, amount: int, *, deadline: int, account: LocalAccount
    ) -> tuple[int, int, int, bytes, bytes]:
        """An ERC-2612 permit, which allows `spender` to take `amount` without a transaction of the owner's.

        Args:
            spender: Who may take them.
            amount: Wei.
            deadline: Until when it is good, seconds.
            account: Of the owner, who signs.
        Returns: (value, deadline, v, r, s), as the contract takes it.
        Source: https://eips.ethereum.org/EIPS/eip-2612
        """
        permit = Permit(
            owner=account.address,
            spender=spender,
            value=amount,
            nonce=ask(self._contract.functions.nonces(account.address)),
            deadline=deadline,
        )
        return permit.as_tuple(sign(permit, domain=self.domain, account=account))

    def try_permit(self, owner: str, spender: str, permit: tuple[int, int, int, bytes, bytes]) -> None:
        """See whether the token would take a permit; nothing is sent.

        Args:
            owner: Who signed it.
            spender: Who may take the tokens.
            permit: (value, deadline, v, r, s).
        Raises: Web3Exception if it would not.
        """
        ask(self._contract.functions.permit(owner, spender, *permit))

    @cached_property
    def domain(self) -> Domain:
        """What a permit's signature is bound to, as the token states it (EIP-5267).

        Raises: BadCallOutput if that is another token or chain: a permit for it would be one to take what is there.
        """
        _, name, version, chain_id, contract, _, _ = ask(self._contract.functions.eip712Domain())
        if (chain_id, contract) != (self.w3.eth.chain_id, self.address):
            reason = f"the domain of {contract} on chain {chain_id}"
            raise BadCallOutput(url=url_of(self.w3), method="eip712Domain", reason=reason)
        return Domain(chain_id=chain_id, contract=contract, name=name, version=version)

    def approve(self, spender: str, amount: int, *, purpose: str, account: LocalAccount) -> Sent:
        """Allow `spender` to take `amount`.

        Args:
            spender: Who may take them.
            amount: Wei.
            purpose: For the message, such as `stake`.
            account: Of the owner, who signs.
        Raises: TokenTooLow if the account does not hold as much.
        """
        if (held := self.balance(account.address)) < amount:
            raise TokenTooLow(address=account.address, balance=held, needed=amount, purpose=purpose)
        return send(self.w3, self._contract.functions.approve(spender, amount), account=account, name="approve")
