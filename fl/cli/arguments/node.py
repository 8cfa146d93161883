"""The task that `fl status` and `fl leave` are about: by the node's folder, or by its invite."""

from __future__ import annotations

from pathlib import Path

from eth_utils import is_address, to_checksum_address

from clients.node.folder import NodeFolder
from fl.chain.invite import Invite
from fl.errors import ConfigError

FOLDER = "the node's folder, which knows task and account (default node, if no invite is named)"


def folder_of(values: dict[str, str]) -> NodeFolder:
    """The folder that was named, or ./node."""
    return NodeFolder(path=Path(values.get("folder") or "node").expanduser().absolute())


def invite_of(values: dict[str, str], folder: NodeFolder) -> Invite:
    """The invite that was named, or the folder's. Raises: BadInvite; ConfigError if there is neither."""
    if values.get("invite"):
        return Invite.load(values["invite"])
    if not folder.invite_path.exists():
        raise ConfigError(f"{folder.path} is no node's folder and no invite is named; add folder=… or invite=…")
    return Invite.read(folder.invite_path)


def account_of(values: dict[str, str], folder: NodeFolder) -> str:
    """The account that was named, or the folder's; "" for neither. Raises: ConfigError for what is no address."""
    if not values.get("account"):
        return folder.account
    if not is_address(values["account"]):
        raise ConfigError(f"account is {values['account']!r}, which is no address; write 0x and 40 hex digits")
    return to_checksum_address(values["account"])
