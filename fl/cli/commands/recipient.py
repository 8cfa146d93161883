"""`fl recipient`: name who is paid what an account earns in a task, and gets its stake, from now on."""

from __future__ import annotations

from collections.abc import Sequence

from fl.chain.membership import read_task
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.node import FOLDER, by_place, folder_of, invite_of
from fl.cli.arguments.signer import WALLET, wallet_signer
from fl.cli.arguments.values import address_of
from fl.cli.commands.join import accepted
from fl.errors import ConfigError

KNOWN = {
    "folder": FOLDER,
    "invite": "the task's invite instead: a file, a link, or the line that begins with fairshare:",
    "to": "address that is paid from now on, by every kind of claim",
    "account": "the client, where the key is that of its present payee (default the key's own account)",
    "key": f"keystore of whoever is paid now (default {WALLET}); on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "accept": "true names it without asking",
}


def main(arguments: Sequence[str]) -> None:
    """Name the payee, or pass an account that is paid elsewhere on to another one."""
    values = parse(by_place(arguments, command="recipient"), known=KNOWN, command="recipient", required=["to"])
    to = address_of(values["to"], setting="to")
    told = address_of(values["account"], setting="account") if values.get("account") else ""
    invite = invite_of(values, folder_of(values))
    escrow, token, _, _ = read_task(invite)
    if int(to, 16) == 0 or to in (escrow.address, token.address):
        raise ConfigError(f"to is {to}, from where nobody could fetch the money; name an account whose key you hold")
    signing = wallet_signer(values, chain_id=invite.chain_id)
    account = told or signing.address
    client = escrow.client(invite.id_bytes, account)
    if not client.first_round:
        raise ConfigError(f"{account} never joined task {invite.task_id}; name the account that did with account=0x…")
    payee = client.payee(account)
    if payee == to:
        print(f"{account} is paid to {to} already")
        return
    if payee != signing.address:
        raise ConfigError(
            f"{account} is paid to {payee}, which alone can change that, and the key is {signing.address}'s; "
            f"name {payee}'s key, and account={account}"
        )
    print(f"what {account} earns in task {invite.task_id}, and its stake, goes to {to} from now on, whoever claims it")
    print(f"only {to} can change that again: a wrong address cannot be taken back")
    if not accepted("name it? [y/N] ", values):
        print("nothing was signed or sent")
        return
    if account == signing.address:
        sent = escrow.set_recipient(invite.id_bytes, to, account=signing)
    else:
        sent = escrow.pass_recipient(invite.id_bytes, client=account, recipient=to, account=signing)
    print(f"{account} is paid to {to}, by transaction {sent.hash}")
