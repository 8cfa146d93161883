"""What the node's owner trusts it with: one key, for the tasks that the owner accepted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eth_account.signers.local import LocalAccount
from flwr.app import Context

from fl.chain.accounts import anvil_account, ask_password, open_keystore, read_password
from fl.chain.errors import KeystoreError
from fl.chain.invite import Invite
from fl.chain.typed_data import Domain, MaskedStep, Receipt, Update, sign, signer_of
from fl.errors import ConfigError
from fl.foreign.files import Unreadable, expanded
from fl.protocol import SIMULATED_FROM
from fl.task.bounds import block_bits


@dataclass(frozen=True, kw_only=True)
class Wallet:
    """Signs updates for one task of one contract on one chain, and nothing else."""

    account: LocalAccount
    domain: Domain
    task_id: bytes  # the task that the owner accepted
    coordinator: str  # whose receipts count
    block_bits: int = 16  # of the task's updates on the wire

    @property
    def address(self) -> str:
        """Where the pay goes."""
        return self.account.address

    def sign_update(self, *, round_number: int, base_model: bytes, update_root: bytes) -> bytes:
        """Sign one update: 65 bytes.

        Args:
            round_number: The round.
            base_model: Hash of the model that was trained from, 32 bytes.
            update_root: Of the update, 32 bytes.
        """
        update = Update(
            task_id=self.task_id,
            round=round_number,
            client=self.address,
            base_model=base_model,
            update_root=update_root,
        )
        return sign(update, domain=self.domain, account=self.account)

    def sign_step(self, step: MaskedStep) -> bytes:
        """Sign what this client says in a step of a masked round of its task: 65 bytes. Raises: ConfigError for another's."""
        if (step.task_id, step.client) != (self.task_id, self.address):
            raise ConfigError("a masked step of another task or client is not signed")
        return sign(step, domain=self.domain, account=self.account)

    def is_receipt(self, signature: bytes, *, round_number: int, update_root: bytes) -> bool:
        """Whether the coordinator signed that it took this update.

        Args:
            signature: 65 bytes.
            round_number: The round.
            update_root: Of the update, 32 bytes.
        Raises: InvalidSignature for other bytes.
        """
        receipt = Receipt(task_id=self.task_id, round=round_number, client=self.address, update_root=update_root)
        return signer_of(receipt, domain=self.domain, signature=signature) == self.coordinator


def wallet_of(context: Context) -> Wallet:
    """The wallet that a node's configuration names.

    The node's owner sets, in the node configuration (never taken from a message): `invite`, the file of the task that
    the owner accepts, and either `keystore` (a file; the password comes from FAIRSHARE_PASSWORD or `password-file`) or,
    on chain 31337 only, `anvil-account` (an index).

    A keystore that was opened before by `unlock` needs no password.

    Raises: ConfigError for a missing key; BadInvite; KeystoreError for a keystore that does not open.
    """
    settings = context.node_config
    if "invite" not in settings:
        raise ConfigError("the node configuration lacks 'invite'; set it to the file of the task that you accept")
    invite = read_invite(str(settings["invite"]))
    return Wallet(
        account=_account(
            invite.chain_id,
            str(settings.get("keystore", "")),
            str(settings.get("password-file", "")),
            int(settings.get("anvil-account", -1)),
        ),
        domain=Domain(chain_id=invite.chain_id, contract=invite.contract),
        task_id=invite.id_bytes,
        coordinator=invite.coordinator,
        block_bits=block_bits(invite.spec),
    )


def simulated_wallet(context: Context, line: str) -> Wallet:
    """The wallet of a node of Flower's simulation engine: by its partition one of Anvil's published keys, which guard nothing.

    Args:
        context: Of the node.
        line: The invite as the message has it. Any coordinator may write one, and gets no more than a key that everybody has.
    Raises: ConfigError outside a simulation; BadInvite; TestKeysElsewhere on any other chain than 31337.
    """
    if not {"partition-id", "num-partitions"} <= set(context.node_config):
        raise ConfigError(
            "the task is simulated, and this node is not of Flower's simulation engine, which sets partition-id and num-partitions; "
            "set invite and keystore in its configuration"
        )
    return _simulated(line, int(context.node_config["partition-id"]))


@cache
def _simulated(line: str, partition: int) -> Wallet:
    invite = Invite.from_line(line)
    return Wallet(
        account=anvil_account(SIMULATED_FROM + partition, chain_id=invite.chain_id),
        domain=Domain(chain_id=invite.chain_id, contract=invite.contract),
        task_id=invite.id_bytes,
        coordinator=invite.coordinator,
        block_bits=block_bits(invite.spec),
    )


def read_invite(path: str) -> Invite:
    """The invite in a file, read once for each time that it was written. Raises: BadInvite."""
    try:
        written = os.stat(path).st_mtime_ns
    except OSError:
        written = 0
    return _read_invite(path, written)


@cache
def _read_invite(path: str, written: int) -> Invite:
    return Invite.read(Path(path))


def unlock(keystore: str, account: LocalAccount) -> None:
    """Hand over the key of a keystore that was opened in this process, so that its password is asked for once."""
    _unlocked[keystore] = account


_unlocked: dict[str, LocalAccount] = {}


def _password(keystore: Path, file: str) -> str:
    if not file:
        return ask_password(keystore)
    try:
        return read_password(expanded(file)).strip()
    except Unreadable as error:
        problem = f"the password file {file} {error.problem}; name another with password-file"
        raise KeystoreError(path=str(keystore), problem=problem) from None


@cache  # scrypt takes a second by design; a node opens its keystore once
def _account(chain_id: int, keystore: str, password_file: str, anvil_index: int) -> LocalAccount:
    if keystore in _unlocked:
        return _unlocked[keystore]
    if keystore:
        path = expanded(keystore)
        return open_keystore(path, password=_password(path, password_file))
    if anvil_index < 0:
        raise ConfigError("the node configuration names no key; set keystore to a file that `fl key` made")
    return anvil_account(anvil_index, chain_id=chain_id)
