"""The task that `fl status` and `fl leave` are about: by the folder of a node or a coordinator, or by its invite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clients.node.folder import NodeFolder
from fl.bundle.invite_link import load_invite
from fl.chain.invite import Invite
from fl.cli.arguments.key_value import named
from fl.cli.arguments.values import address_of
from fl.errors import ConfigError
from fl.foreign.files import expanded

_TEXTS = ("fairshare:", "https://", "http://")  # how invites begin that are no file
FOLDER = "the node's or the coordinator's folder (default node or, where there is none, coordinator)"


def by_place(arguments: Sequence[str], *, command: str) -> list[str]:
    """The settings with the one word that has no key as what it is: a folder, or an invite in any of its forms.

    Raises: ConfigError for more words than one.
    """
    told = named(arguments, "folder", command=command)
    return [
        f"invite={word.removeprefix('folder=')}"
        if word.startswith("folder=") and word not in arguments and _is_invite(word.removeprefix("folder="))
        else word
        for word in told
    ]


def _is_invite(word: str) -> bool:
    return word.startswith(_TEXTS) or expanded(word).is_file()


def folder_of(values: dict[str, str]) -> NodeFolder:
    """The folder that was named, or ./node; ./coordinator where only that is there."""
    default = next((folder for folder in ("node", "coordinator") if Path(folder, "invite.json").exists()), "node")
    return NodeFolder(path=expanded(values.get("folder") or default).absolute())


def invite_of(values: dict[str, str], folder: NodeFolder) -> Invite:
    """The invite that was named, or the folder's. Raises: BadInvite; ConfigError if there is neither."""
    if values.get("invite"):
        return load_invite(values["invite"])
    if not folder.invite_path.exists():
        seen = "has no task, as nothing was joined from it" if folder.path.is_dir() else "is not a folder of a task"
        raise ConfigError(f"{folder.path} {seen}, and no invite is named; add folder=… or invite=…")
    return Invite.read(folder.invite_path)


def account_of(values: dict[str, str], folder: NodeFolder) -> str:
    """The account that was named, or the folder's; "" for neither. Raises: ConfigError for what is not an address."""
    if not values.get("account"):
        return folder.account
    return address_of(values["account"], setting="account")
