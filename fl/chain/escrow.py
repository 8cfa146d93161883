"""The contract in Python: one method a call, named as in `contracts/src/interfaces/IFairshare.sol`, which is its manual."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount
from web3 import Web3

from fl.chain.artifacts import artifact
from fl.chain.escrow_reader import EscrowReader
from fl.chain.sender import Sent, send
from fl.chain.typed_data import Header, Join, Redirect, compact
from fl.rewards.tree import Leaf, Sibling, packed

PARTS = ("Lifecycle", "Disputes", "Fairshare")  # each is told the address of the one before
PermitValues = tuple[object, ...]  # (value, deadline, v, r, s) of `Token.permit`
SignedJoin = tuple[Join, bytes, PermitValues]  # with the account's signature


class Escrow(EscrowReader):
    """The Fairshare contract at an address: what it answers, and the calls that change it, in the order of a task's life.

    Raises: NoContract if there is no code at the address, or it is of another contract.
    """

    @staticmethod
    def deploy(w3: Web3, *, account: LocalAccount) -> tuple[Escrow, list[Sent]]:
        """Put the contract on the chain: three parts, for want of room in one, of which Fairshare's is the address."""
        sent: list[Sent] = []
        for name in PARTS:
            code = artifact(name)
            constructor = w3.eth.contract(abi=code.abi, bytecode=code.bytecode).constructor(
                *(last.contract for last in sent[-1:])
            )
            sent.append(send(w3, constructor, account=account, name=f"deploy {name.lower()}"))
        return Escrow(w3, sent[-1].created), sent

    def join_for(
        self,
        order: Join,
        *,
        signature: bytes,
        permit: PermitValues,
        account: LocalAccount,
        membership: Sequence[bytes] = (),
    ) -> Sent:
        """Enrol an account that has signed for it; `account` pays the gas and gets the fee.

        Args:
            permit: (value, deadline, v, r, s) of `Token.permit`; one that fails is ignored where the allowance is there.
        """
        return self._send("joinFor", *_join_for(order, signature, permit, membership), account=account)

    def join_for_all(self, orders: Sequence[SignedJoin], *, account: LocalAccount) -> Sent:
        """Enrol many accounts that have signed for it in one transaction; each with its signature and permit, as `join_for`."""
        calls = [self._contract.encode_abi("joinFor", args=_join_for(*order, ())) for order in orders]
        return self._send("multicall", calls, account=account)

    def stop(self, task_id: bytes, *, account: LocalAccount) -> Sent:
        """Make the round under way the last one, where the terms let the sponsor."""
        return self._send("stop", task_id, account=account)

    def add_budget(self, task_id: bytes, amount: int, *, account: LocalAccount) -> Sent:
        """Add to the budget from the round after the one under way; `account` has approved the amount before.

        Args:
            task_id: 32 bytes.
            amount: Wei.
            account: The sponsor's.
        """
        return self._send("addBudget", task_id, amount, account=account)

    def set_joining(self, task_id: bytes, *, closed: bool, account: LocalAccount) -> Sent:
        """Let nobody join any more, or open the joining again; the sponsor's, where the terms let it.

        Args:
            task_id: 32 bytes.
            closed: Whether nobody may join.
            account: The sponsor's.
        """
        return self._send("setJoining", task_id, closed, account=account)

    def offer_coordinator(self, task_id: bytes, to: str, *, account: LocalAccount) -> Sent:
        """Name who may take the coordinator's place, the zero address for nobody.

        Args:
            task_id: 32 bytes.
            to: Address of who may take it.
            account: The coordinator's.
        """
        return self._send("offerCoordinator", task_id, to, account=account)

    def take_coordinator(self, task_id: bytes, *, account: LocalAccount) -> Sent:
        """Take the place that was offered to `account`, and the bond with it."""
        return self._send("takeCoordinator", task_id, account=account)

    def post(self, header: Header, *, signatures: Sequence[bytes], cover: bytes, account: LocalAccount) -> Sent:
        """Post a round.

        Args:
            signatures: 65 bytes each, in ascending order of their signers.
            cover: Of the last round's posting, zeros in round 1.
        """
        return self._send(
            "post", header.as_tuple(), [compact(signature) for signature in signatures], cover, account=account
        )

    def approve_header(self, header: Header, *, evaluator: str, signature: bytes, account: LocalAccount) -> Sent:
        """Note that an evaluator that is a contract takes this signature of the next round's header for its own.

        Args:
            header: Of the next round.
            evaluator: The contract's address.
            signature: What it takes, of any length.
            account: Signs and pays the gas.
        Raises: Refused with BadSignature if the contract does not take it.
        """
        return self._send("approveHeader", header.as_tuple(), evaluator, signature, account=account)

    def release_evaluator(self, task_id: bytes, evaluator: str, *, account: LocalAccount) -> Sent:
        """Credit an evaluator's stake to who paid it.

        Args:
            task_id: 32 bytes.
            evaluator: Whose stake it is.
            account: Signs and pays the gas; before the start, the evaluator's or its payer's.
        """
        return self._send("releaseEvaluator", task_id, evaluator, account=account)

    def claim(self, header: Header, *, leaf: Leaf, index: int, proof: Sequence[Sibling], account: LocalAccount) -> Sent:
        """Pay a leaf's account what it earned and was not paid; `account` only pays the gas.

        Args:
            header: Of the round.
            leaf: To pay.
            index: Of the leaf.
            proof: That it is in the tree.
            account: Signs and pays the gas.
        """
        return self._send("claim", header.as_payroll(), leaf.as_tuple(), (index, packed(proof)), account=account)

    def claim_to(
        self,
        order: Redirect,
        *,
        signature: bytes,
        header: Header,
        leaf: Leaf,
        index: int,
        proof: Sequence[Sibling],
        account: LocalAccount,
    ) -> Sent:
        """Claim to where the leaf's account, or its payee, has signed for; `account` pays the gas and gets the fee.

        Args:
            order: Where to, and the fee.
            signature: Of the leaf's account or, if it has one, of its payee.
            header: Of the round.
            leaf: To pay.
            index: Of the leaf.
            proof: That it is in the tree.
            account: Signs and pays the gas.
        """
        redirect = (order.recipient, order.fee, order.deadline, signature)
        return self._send(
            "claimTo", header.as_payroll(), leaf.as_tuple(), (index, packed(proof)), redirect, account=account
        )

    def claim_range(
        self,
        header: Header,
        *,
        start: int,
        leaves: Sequence[Leaf],
        siblings: Sequence[Sibling],
        account: LocalAccount,
    ) -> Sent:
        """Claim for neighbouring leaves from number `start` on, with one proof for all of them.

        Args:
            header: Of the round.
            start: Number of the first leaf.
            leaves: To pay.
            siblings: The proof of all of them.
            account: Signs and pays the gas.
        """
        told = [leaf.as_tuple() for leaf in leaves]
        return self._send("claimRange", header.as_payroll(), start, told, packed(siblings), account=account)

    def claim_batch(
        self,
        header: Header,
        *,
        leaves: Sequence[Leaf],
        proofs: Sequence[tuple[int, Sequence[Sibling]]],
        account: LocalAccount,
    ) -> Sent:
        """Claim for any leaves at once; `proofs` are (index, siblings).

        Args:
            header: Of the round.
            leaves: To pay.
            proofs: Of each leaf.
            account: Signs and pays the gas.
        """
        return self._send(
            "claimBatch",
            header.as_payroll(),
            [leaf.as_tuple() for leaf in leaves],
            [(index, packed(siblings)) for index, siblings in proofs],
            account=account,
        )

    def leave(self, task_id: bytes, *, account: LocalAccount) -> Sent:
        """End the account's part in the task."""
        return self._send("leave", task_id, account=account)

    def set_recipient(self, task_id: bytes, recipient: str, *, account: LocalAccount) -> Sent:
        """Have `recipient` paid for the account from now on, by every kind of claim; only the recipient can change it then.

        Args:
            task_id: 32 bytes.
            recipient: Who is paid.
            account: The client's, or its payee's.
        """
        return self._send("setRecipient", task_id, recipient, account=account)

    def pass_recipient(self, task_id: bytes, *, client: str, recipient: str, account: LocalAccount) -> Sent:
        """Have `recipient` paid for a client whose payee `account` is.

        Args:
            task_id: 32 bytes.
            client: Whose pay it is.
            recipient: Who is paid.
            account: The payee's until now.
        """
        return self._send("passRecipient", task_id, client, recipient, account=account)

    def release(self, task_id: bytes, *, client: str, account: LocalAccount) -> Sent:
        """Credit a client with its stake.

        Args:
            task_id: 32 bytes.
            client: Whose stake it is.
            account: Signs and pays the gas.
        """
        return self._send("release", task_id, client, account=account)

    def release_range(self, task_id: bytes, clients: Sequence[str], *, account: LocalAccount) -> Sent:
        """Pay out the stakes of many clients.

        Args:
            task_id: 32 bytes.
            clients: Whose stakes they are.
            account: Signs and pays the gas.
        """
        return self._send("releaseRange", task_id, list(clients), account=account)

    def expire(self, task_id: bytes, *, account: LocalAccount) -> Sent:
        """End a task whose coordinator fell silent."""
        return self._send("expire", task_id, account=account)

    def close(self, task_id: bytes, *, account: LocalAccount) -> Sent:
        """End a task that is complete."""
        return self._send("close", task_id, account=account)

    def close_halted(self, last: Header, *, account: LocalAccount) -> Sent:
        """End a halted task; `last` is the header of its last valid round, or any of the task where there is none."""
        return self._send("closeHalted", last.as_tuple(), account=account)

    def sweep(self, task_id: bytes, *, account: LocalAccount) -> Sent:
        """Credit the sponsor with what nobody claimed."""
        return self._send("sweep", task_id, account=account)

    def withdraw_for(self, token: str, client: str, *, account: LocalAccount) -> Sent:
        """Pay `client` what it is credited with; `account` only pays the gas.

        Args:
            token: Of the credit.
            client: Whose credit it is.
            account: Signs and pays the gas.
        """
        return self._send("withdrawFor", token, client, account=account)

    # ---- disputes, and whatever takes tokens ------------------------------------------------------------------------

    def submit(self, function: str, arguments: Sequence[object], *, account: LocalAccount) -> Sent:
        """Call any function: a proof or a step of a challenge, as `fl.audit.disputes.proofs` builds it, or what takes tokens
        (`fl.chain.payment.pay` sees to those).

        Args:
            function: Of the contract.
            arguments: In its order.
            account: Signs and pays the gas.
        Raises: Refused.
        """
        return self._send(function, *arguments, account=account)

    def submit_permitted(
        self,
        function: str,
        arguments: Sequence[object],
        *,
        token: str,
        permit: tuple[int, int, int, bytes, bytes],
        account: LocalAccount,
    ) -> Sent:
        """Use a permit of the account's and call what needs its allowance, in one transaction; see `fl.chain.payment`.

        Args:
            permit: (value, deadline, v, r, s) of `Token.permit`.
        Raises: Refused.
        """
        calls = [
            self._contract.encode_abi("permit", args=[token, permit]),
            self._contract.encode_abi(function, args=list(arguments)),
        ]
        return send(self.w3, self._contract.functions.multicall(calls), account=account, name=function)

    def _send(self, name: str, *arguments: object, account: LocalAccount) -> Sent:
        return send(self.w3, self._contract.functions[name](*arguments), account=account, name=name)


def _join_for(order: Join, signature: bytes, permit: PermitValues, membership: Sequence[bytes]) -> tuple[object, ...]:
    enrolment = (order.account, order.stake, order.node_key, order.dataset, order.fee, order.deadline, signature)
    return order.task_id, enrolment, permit, list(membership)
