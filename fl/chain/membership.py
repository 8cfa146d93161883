"""A client's side of the contract: check an invite against the chain, and join with a stake."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from eth_account.signers.local import LocalAccount

from fl.chain.erc20 import Token
from fl.chain.errors import ChainError, Refused, TokenTooLow
from fl.chain.escrow import Escrow, SignedJoin
from fl.chain.invite import Invite
from fl.chain.payment import pay
from fl.chain.sender import Sent, connect
from fl.chain.task_state import Status, TaskState, Terms
from fl.chain.typed_data import Join, Permit, sign
from fl.plain_text import printable

log = logging.getLogger(__name__)

_AT_ONCE = 100  # joins of one transaction: about 18 million gas, two thirds of a block
_FOREVER = 2**40 - 1
_LONGEST_URL = 100  # characters of one that is shown


class InviteDiffers(ChainError):
    """An invite says something other than the task's terms on chain."""

    def __init__(self, what: str, invite: str, chain: str) -> None:
        super().__init__(what, invite, chain)
        self.what, self.invite, self.chain = what, invite, chain

    def __str__(self) -> str:
        return (
            f"the invite's {self.what} is {self.invite}, the chain says {self.chain}; do not join, and ask the coordinator "
            "for the right invite"
        )


class TaskOver(ChainError):
    """A task takes no more clients."""

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(task_id, status)
        self.task_id, self.status = task_id, status

    def __str__(self) -> str:
        return f"task {self.task_id} is {self.status} and takes no more clients; ask for another invite"


class GatewayNotSigned(ChainError):
    """An invite leads to a gateway that the task's coordinator did not put its name to."""

    def __init__(self, gateway: str, coordinator: str) -> None:
        super().__init__(gateway, coordinator)
        self.gateway, self.coordinator = gateway, coordinator

    def __str__(self) -> str:
        return (
            f"the invite leads to {printable(self.gateway, most=_LONGEST_URL)}, and the task's coordinator {self.coordinator} has not signed "
            "that its gateway is there; somebody else may be waiting for your updates, so do not join, and ask the coordinator for its invite"
        )


def check_invite(invite: Invite) -> tuple[Escrow, Token, Terms]:
    """As `read_task`, for a task that is to be joined.

    Raises: also TaskOver if it was halted or closed; GatewayNotSigned.
    """
    escrow, token, terms, state = read_task(invite)
    if state.status not in (Status.OPEN, Status.STARTED):
        raise TaskOver(task_id=invite.task_id, status=state.status.name.lower())
    check_gateway(invite, terms, escrow=escrow)
    return escrow, token, terms


def check_gateway(invite: Invite, terms: Terms, *, escrow: Escrow) -> None:
    """See that a coordinator of the task signed where the invite leads, before anything of one's own goes there.

    Args:
        invite: That was given; one without a gateway leads nowhere.
        terms: Of its task.
        escrow: The contract.
    Raises: GatewayNotSigned.
    """
    if not invite.gateway:
        return
    signer = invite.gateway_signer
    if signer == terms.coordinator:
        return
    # One who handed over signed the invites of the time before, and the gateway is where it was.
    if signer is None or signer not in escrow.coordinators(invite.id_bytes, from_block=invite.block):
        raise GatewayNotSigned(gateway=invite.gateway, coordinator=terms.coordinator)


class TaskOnChain(NamedTuple):
    """A task as the chain has it, and the contracts to ask for more."""

    escrow: Escrow
    token: Token
    terms: Terms
    state: TaskState


def read_task(invite: Invite) -> TaskOnChain:
    """Reach the chain and hold the invite against the terms there.

    Raises: ChainUnreachable, WrongChain, NoContract, NoTask; InviteDiffers if coordinator, token or spec are not the task's.
    """
    w3 = connect(invite.url, chain_id=invite.chain_id)
    escrow, token = Escrow(w3, invite.contract), Token(w3, invite.token)
    terms, state = escrow.task(invite.id_bytes)
    of_today(invite, terms, escrow=escrow)
    return TaskOnChain(escrow, token, terms, state)


def of_today(invite: Invite, terms: Terms, *, escrow: Escrow) -> Invite:
    """Hold an invite against the terms on chain.

    Args:
        invite: As it was given.
        terms: Of its task.
        escrow: The contract.
    Returns: the invite, with the coordinator of today where the one that it names has handed over on chain.
    Raises: InviteDiffers if coordinator, token or spec are not the task's.
    """
    former = invite.coordinator != terms.coordinator and invite.coordinator in escrow.coordinators(
        invite.id_bytes, from_block=invite.block
    )
    for what, told, true in (
        ("coordinator", terms.coordinator if former else invite.coordinator, terms.coordinator),
        ("token", invite.token, terms.token),
        ("spec hash", "0x" + invite.spec_hash.hex(), "0x" + terms.spec_hash.hex()),
    ):
        if told != true:
            raise InviteDiffers(what=what, invite=told, chain=true)
    return replace(invite, coordinator=terms.coordinator)


@dataclass(frozen=True, kw_only=True)
class Joining:
    """What one client of a simulation joins with."""

    account: LocalAccount
    stake: int  # wei
    node_key: bytes
    dataset: bytes


def join_all(invite: Invite, joinings: Sequence[Joining], *, relayer: LocalAccount) -> list[tuple[int, Sent]]:
    """Have many clients join, each by an order of its own, in few transactions that `relayer` pays for.

    Their wallets are all at hand and their tokens are there, as in a simulation. Each order is signed by its own account, and so is the
    permit that lets the contract take the stake; nobody needs ETH but the relayer.

    Args:
        invite: Of the task.
        joinings: Of the clients.
        relayer: Signs and pays the gas.
    Returns: for each transaction, how many joined by it.
    Raises: as `check_invite`; Refused with the contract's reason.
    """
    escrow, token, _ = check_invite(invite)
    sent = []
    for start in range(0, len(joinings), _AT_ONCE):
        batch = joinings[start : start + _AT_ONCE]
        nonces = token.nonces([joining.account.address for joining in batch])
        orders = [
            _order(joining, nonce, escrow=escrow, token=token, task_id=invite.id_bytes)
            for joining, nonce in zip(batch, nonces, strict=True)
        ]
        sent.append((len(batch), escrow.join_for_all(orders, account=relayer)))
    return sent


def _order(joining: Joining, nonce: int, *, escrow: Escrow, token: Token, task_id: bytes) -> SignedJoin:
    order = Join(
        task_id=task_id,
        account=joining.account.address,
        stake=joining.stake,
        node_key=joining.node_key,
        dataset=joining.dataset,
        fee=0,
        deadline=_FOREVER,
    )
    permit = Permit(
        owner=joining.account.address, spender=escrow.address, value=joining.stake, nonce=nonce, deadline=_FOREVER
    )
    signed = permit.as_tuple(sign(permit, domain=token.domain, account=joining.account))
    return order, sign(order, domain=escrow.domain, account=joining.account), signed


def join(
    invite: Invite, *, account: LocalAccount, stake: int, node_key: bytes, dataset: bytes
) -> tuple[Sent | None, Sent]:
    """Join with a stake: in one transaction where the token knows permits, else after an approval.

    A join that an earlier start sent, and did not live to see in a block, is found again.

    Args:
        stake: Wei; what the client's weight stands on.
        node_key: Public key of the client's Flower node, empty where the engine has none.
        dataset: Commitment to the shard, 32 bytes.
    Returns: the approval, None if it was not needed, and the joining.
    Raises: as `check_invite`; TokenTooLow; Refused with the contract's reason (stake out of range, joined before).
    """
    escrow, token, _ = check_invite(invite)
    try:
        return pay(
            escrow,
            token,
            function="join",
            arguments=[invite.id_bytes, stake, node_key, dataset, []],
            amount=stake,
            purpose="stake",
            account=account,
        )
    except (Refused, TokenTooLow):
        earlier = escrow.joining(invite.id_bytes, account.address, from_block=invite.block)
        if earlier is None or (earlier[0].stake, earlier[0].node_key, earlier[0].dataset) != (stake, node_key, dataset):
            raise
        log.info("%s joined in the transaction that was sent before", account.address)
        return None, earlier[1]
