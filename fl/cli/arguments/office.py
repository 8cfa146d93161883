"""The task and the key of a command that its sponsor or its coordinator runs."""

from __future__ import annotations

from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.bundle.invite_link import load_invite
from fl.chain.accounts import ANVIL_CHAIN, anvil_account
from fl.chain.invite import Invite
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import whole
from fl.errors import ConfigError
from fl.foreign.files import Absent, GivenFolder, Unreadable, expanded
from fl.foreign.json_text import BadJson, list_of, object_of, read_json, text_of

TASK = {
    "folder": "of the coordinator, or of a run (default coordinator)",
    "invite": "the task's invite instead: a file, a link, or the line that begins with fairshare:",
}
KEY = "keystore that signs (default what the folder's coordinator was started with)"
ANVIL = "index of one of Anvil's published test accounts instead, on chain 31337 only"

_MOST_SETTINGS = 1 << 20  # bytes
_OWN_INDICES = (0, 1)  # of Anvil's accounts: sponsor and coordinator of whoever names no keystore


def office_of(values: dict[str, str]) -> tuple[Path, Invite]:
    """The folder that was named, or ./coordinator, and the invite that was named, or the folder's.

    Raises: BadInvite; ConfigError if there is neither.
    """
    folder = expanded(values.get("folder") or "coordinator").absolute()
    if values.get("invite"):
        return folder, load_invite(values["invite"])
    if not (folder / "invite.json").exists():
        raise ConfigError(f"{folder} is not a folder of a task and no invite is named; add folder=… or invite=…")
    return folder, Invite.read("invite.json", inside=GivenFolder(folder))


def office_signer(values: dict[str, str], *, folder: Path, invite: Invite, owner: str, office: str) -> LocalAccount:
    """The key that `key=` or `anvil=` names; else what the folder's coordinator was started with or, on a devnet, the test
    account that holds the office.

    Args:
        owner: Address of who holds the office.
        office: As a sentence names it, such as "sponsor".
    Raises: ConfigError if no key is named or found; as `signer`.
    """
    if values.get("key") or "anvil" in values:
        index = whole(values.get("anvil", "0"), setting="anvil", least=0)
        return signer(values.get("key"), chain_id=invite.chain_id, anvil_index=index)
    if key := keystore_of(folder):
        return signer(key, chain_id=invite.chain_id)
    if invite.chain_id == ANVIL_CHAIN:
        own = (anvil_account(index, chain_id=ANVIL_CHAIN) for index in _OWN_INDICES)
        if found := next((account for account in own if account.address == owner), None):
            return found
    raise ConfigError(f"key is not set, and {folder} names none; add key=KEYSTORE of the {office}, {owner}")


def require_office(account: LocalAccount, *, owner: str, office: str) -> None:
    """Refuse another's key before anything is asked.

    Args:
        account: That signs.
        owner: Whose office it is.
        office: Its name, for the message.
    Raises: ConfigError.
    """
    if account.address != owner:
        raise ConfigError(
            f"the task's {office} is {owner} and the key is of {account.address}; name the {office}'s key"
        )


def keystore_of(folder: Path) -> str | None:
    """The keystore that a folder's coordinator was started with, None if it says none. Raises: ConfigError."""
    try:
        told = object_of(read_json(GivenFolder(folder).read("settings.json", most=_MOST_SETTINGS)))
        settings = [text_of(setting, most=_MOST_SETTINGS) for setting in list_of(told["settings"])]
    except Absent:
        return None
    except (Unreadable, BadJson, KeyError) as error:
        raise ConfigError(
            f"{folder / 'settings.json'} cannot be read ({error}); add key=KEYSTORE of the coordinator"
        ) from error
    return next((setting.partition("=")[2] for setting in settings if setting.startswith("chain.key=")), None)
