"""What stands behind an evaluator: staked by itself, or by who may speak for it, and brought home when the task is over."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from fl.chain.erc20 import Token
from fl.chain.errors import ChainError, Refused
from fl.chain.escrow import Escrow
from fl.chain.payment import pay
from fl.chain.sender import Sent
from fl.chain.task_state import Status
from fl.chain.typed_data import Back, sign


class StakedByAnother(ChainError):
    """Another account staked for an evaluator, and speaks for it."""

    def __init__(self, evaluator: str, payer: str, own: str) -> None:
        super().__init__(evaluator, payer, own)
        self.evaluator, self.payer, self.own = evaluator, payer, own

    def __str__(self) -> str:
        return f"{self.payer} staked for evaluator {self.evaluator} and speaks for it, and the key is of {self.own}; use that one's key"


class StakeGone(ChainError):
    """The stake behind an evaluator went home or was taken, and nobody stakes for it again."""

    def __init__(self, evaluator: str) -> None:
        super().__init__(evaluator)
        self.evaluator = evaluator

    def __str__(self) -> str:
        return (
            f"no stake is behind evaluator {self.evaluator} any more: it went home before the start, or was taken for a round that "
            "was wrong. An evaluator stakes once a task; the others have to go on without it"
        )


def stake_due(escrow: Escrow, task_id: bytes, evaluator: str, *, payer: str) -> bool:
    """Whether an evaluator has to be staked for before it counts or, being a contract, before an account may speak for it.

    Args:
        escrow: The contract.
        task_id: 32 bytes.
        evaluator: Of the task.
        payer: Who would stake.
    Raises: StakedByAnother if somebody else did who alone speaks for it; StakeGone.
    """
    terms, _ = escrow.task(task_id)
    backer = escrow.backer(task_id, evaluator)
    if not int(backer.payer, 16):
        return terms.evaluator_stake > 0 or payer != evaluator
    if payer not in (evaluator, backer.payer):
        raise StakedByAnother(evaluator=evaluator, payer=backer.payer, own=payer)
    if terms.evaluator_stake and not backer.stake:
        raise StakeGone(evaluator=evaluator)
    return False


def stake_evaluator(
    escrow: Escrow, token: Token, *, task_id: bytes, evaluator: str, payer: LocalAccount, key: LocalAccount
) -> Sent | None:
    """Stake for an evaluator, if that is not done; None if it was.

    Args:
        escrow: The contract.
        token: The task's.
        task_id: 32 bytes.
        evaluator: Of the task.
        payer: Holds the tokens, and gets them back.
        key: The evaluator's, or its owner's if it is a contract: signs that `payer` may stake for it.
    Raises: TokenTooLow before anything is sent; StakedByAnother; StakeGone; Refused; ChainError.
    """
    if not stake_due(escrow, task_id, evaluator, payer=payer.address):
        return None
    order = Back(task_id=task_id, evaluator=evaluator, payer=payer.address)
    signature = b"" if payer.address == evaluator else sign(order, domain=escrow.domain, account=key)
    arguments, amount = [task_id, evaluator, signature], escrow.task(task_id)[0].evaluator_stake
    try:
        _, sent = pay(
            escrow,
            token,
            function="stakeEvaluator",
            arguments=arguments,
            amount=amount,
            purpose="evaluator's stake",
            account=payer,
        )
    except Refused:
        if stake_due(escrow, task_id, evaluator, payer=payer.address):
            raise
        return None  # by a transaction that an earlier life sent
    return sent


def can_go_home(escrow: Escrow, task_id: bytes) -> bool:
    """Whether evaluators' stakes can be released now: the task is closed and, if rounds were proven wrong, long enough."""
    terms, state = escrow.task(task_id)
    now = escrow.w3.eth.get_block("latest")["timestamp"]
    return state.status == Status.CLOSED and (not state.void_from or now >= state.since + terms.challenge_window)


def release_stakes(escrow: Escrow, task_id: bytes, *, account: LocalAccount, payers: Sequence[str] = ()) -> list[Sent]:
    """Credit evaluators' stakes to who paid them, as far as they can go home.

    Args:
        escrow: The contract.
        task_id: 32 bytes.
        account: Signs and pays the gas.
        payers: Whose stakes; everybody's if none is named.
    """
    terms, _ = escrow.task(task_id)
    if not terms.evaluator_stake or not can_go_home(escrow, task_id):
        return []
    held = {
        evaluator: backer.payer
        for evaluator, backer in escrow.backers(task_id, terms.evaluators).items()
        if backer.stake
    }
    sent = []
    for evaluator, payer in held.items():
        if payers and payer not in payers:
            continue
        try:
            sent.append(escrow.release_evaluator(task_id, evaluator, account=account))
        except Refused:
            if escrow.backer(task_id, evaluator).stake:  # else somebody else released it meanwhile
                raise
    return sent
