"""`fl leave`: end one's part in a task, and fetch the stake once nothing can be proven against it any more."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from fl.chain.erc20 import Token
from fl.chain.errors import Refused
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.membership import read_task
from fl.chain.task_state import Status, TaskState
from fl.chain.tokens import in_tokens
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.node import FOLDER, by_place, folder_of, invite_of
from fl.cli.arguments.signer import WALLET, wallet_signer
from fl.cli.commands.join import accepted
from fl.errors import ConfigError

KNOWN = {
    "folder": FOLDER,
    "invite": "the task's invite instead: a file, a link, or the line that begins with fairshare:",
    "key": f"keystore of the client's wallet (default {WALLET}); on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "accept": "true leaves without asking",
}


def main(arguments: Sequence[str]) -> None:
    """Leave if the account takes part; fetch its stake if it may go."""
    values = parse(by_place(arguments, command="leave"), known=KNOWN, command="leave")
    invite = invite_of(values, folder_of(values))
    escrow, token, _, state = read_task(invite)
    account = wallet_signer(values, chain_id=invite.chain_id)
    client = escrow.client(invite.id_bytes, account.address)
    if not client.first_round:
        raise ConfigError(f"{account.address} never joined task {invite.task_id}; name the key of the account that did")
    running = state.status in (Status.OPEN, Status.STARTED)
    if running and not client.left_round and state.posted >= state.rounds:
        print("all rounds are posted, so there is nothing left to leave; what was earned stays claimable")
    elif running and not client.left_round:
        print(f"{account.address} has {in_tokens(client.stake)} staked in task {invite.task_id}")
        print(
            "whoever leaves cannot come back; the round that is under way still counts, and what was earned stays claimable"
        )
        if not accepted("leave? [y/N] ", values):
            print("nothing was signed or sent")
            return
        sent = escrow.leave(invite.id_bytes, account=account)
        client = escrow.client(invite.id_bytes, account.address)
        told = f"no weight from round {client.left_round} on" if client.left_round else "it never took part"
        print(f"left in transaction {sent.hash}; {told}. A node that runs for it notices, and knocks no more")
    _fetch_stake(invite, escrow=escrow, token=token, account=account, left_round=client.left_round, state=state)


def _fetch_stake(
    invite: Invite, *, escrow: Escrow, token: Token, account: LocalAccount, left_round: int, state: TaskState
) -> None:
    came = False
    if escrow.client(invite.id_bytes, account.address).stake:
        try:
            staked = escrow.client(invite.id_bytes, account.address).stake
            escrow.release_range(invite.id_bytes, [account.address], account=account)
            payee = escrow.client(invite.id_bytes, account.address).payee(account.address)
            print(f"{payee} got {in_tokens(staked)} of stake back")
            came = True
        except Refused as error:
            if error.name != "StillAtStake":
                raise
            print(f"the stake comes back {_when(left_round, state)}; run `fl leave` again then")
            return
    credit = escrow.credit(token.address, account.address)
    if credit:
        escrow.withdraw_for(token.address, account.address, account=account)
        print(f"{account.address} got {in_tokens(credit)} back")
    elif not came:
        print("nothing is staked or credited any more")


def _when(left_round: int, state: TaskState) -> str:
    if left_round and left_round <= state.rounds:
        return f"once round {left_round - 1} is posted and its challenge window is over, or the task is closed"
    what = "complete and its last round final" if state.status == Status.STARTED else "over"
    return f"when the task is closed, which anybody may do once it is {what}"
