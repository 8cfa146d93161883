"""`fl join`: stake for a task as a client, without starting a node; `fl client` does both."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.node.folder import NodeFolder
from fl.bundle.invite_link import load_invite
from fl.chain.json_file import write_json
from fl.chain.membership import check_invite, join
from fl.chain.tokens import in_tokens, wei
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import is_whole
from fl.errors import ConfigError
from fl.foreign.files import Unreadable, expanded, read_file
from fl.foreign.json_text import BadJson, hex_of, object_of, read_json
from fl.plain_text import plural, printable
from fl.task.bounds import read_spec

_LONGEST_SPEC = 20_000  # characters that are shown
_MOST_NOTE = 1 << 16  # bytes
KNOWN = {
    "invite": "the coordinator's invite: a file, or the line that begins with fairshare:",
    "key": "keystore of the client's wallet; on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "stake": "tokens to stake: one for each sample is what tasks expect by default",
    "data": "file of the shard, to commit to by a salted hash; the salt is kept beside it",
    "folder": "the node's folder, to bind its key: `fl client` with the same folder=… takes part then",
    "accept": "true joins without asking",
}
INTERRUPTED = 130  # as shells have it


def main(arguments: Sequence[str]) -> None:
    """Show what the task is, ask, and join."""
    values = parse(
        named(arguments, "invite", command="join"), known=KNOWN, command="join INVITE", required=["invite", "stake"]
    )
    invite = load_invite(values["invite"])
    _, _, terms = check_invite(invite)
    read_spec(invite.spec)  # which refuses what no task may ask for
    stake = wei(values["stake"], setting="stake")
    if not values.get("key") and not is_whole(values.get("anvil", "")):
        raise ConfigError("key is not set; add key=KEYSTORE (`fl key` makes one), or anvil=INDEX on a local Anvil")
    account = signer(values.get("key"), chain_id=invite.chain_id, anvil_index=int(values.get("anvil") or 0))
    dataset = bytes(32)
    if "data" in values:
        note = Path(values["data"] + ".commitment.json")
        dataset = commit(Path(values["data"]), note=note, task_id=invite.task_id, account=account.address)
    print(f"task {invite.task_id} on chain {invite.chain_id}, contract {invite.contract}")
    print(f"pays up to {in_tokens(terms.budget)} over {plural(terms.rounds, 'round')}, by score")
    print(f"stakes {in_tokens(stake)} of {account.address}, back at the end unless it signs two updates for a round")
    print(f"trains {printable(invite.spec, most=_LONGEST_SPEC)}")
    print(f"commits to data {'0x' + dataset.hex() if any(dataset) else 'not at all; add data=FILE to do so'}")
    print("binds " + (f"the node key in {values['folder']}" if "folder" in values else "no node key; add folder=… to"))
    if not accepted("join? [y/N] ", values):
        print("nothing was signed or sent")
        return
    node_key = b""
    if "folder" in values:
        folder = NodeFolder(path=expanded(values["folder"]))
        with folder.held():
            folder.bind(invite=invite, account=account.address)
            node_key = folder.node_key()
    _, joined = join(invite, account=account, stake=stake, node_key=node_key, dataset=dataset)
    print(f"joined in transaction {joined.hash}, {joined.gas} gas")


def commit(data: Path, *, note: Path, task_id: str, account: str) -> bytes:
    """sha256(salt ‖ sha256(file)): binds the client to its file without telling what is in it.

    For a folder, the sha256 is that of its files' sums, by name. The salt is kept in `note`, readable by its owner only; it
    is what opens the commitment later. So a note is used again for the same file, task and account, and otherwise renamed,
    never overwritten: its commitment may be on chain.

    Args:
        data: The file.
        note: Where salt and hash are kept.
        task_id: Of the task.
        account: That joins.
    Raises: ConfigError if the file, or the note that is there, cannot be read.
    """
    content = _content_of(data)
    of = {"task": task_id, "account": account, "sha256": content.hex()}
    if note.exists():
        try:
            known = object_of(read_json(read_file(note, most=_MOST_NOTE)))
            digest = hex_of(known["commitment"], size=32)
        except (Unreadable, BadJson, KeyError) as error:
            raise ConfigError(
                f"{note} is not a note of a commitment ({type(error).__name__}); restore it, or move it away if you never joined"
            ) from error
        if {key: known.get(key) for key in of} == of:
            return digest
        note.rename(note.with_name(f"{note.stem}.{digest.hex()[:16]}{note.suffix}"))
    salt = os.urandom(32)
    digest = hashlib.sha256(salt + content).digest()
    write_json(note, {**of, "salt": salt.hex(), "commitment": digest.hex()}, mode=0o600)
    return digest


def is_committed(data: Path, *, note: Path) -> bool:
    """Whether a file is the one of the note's commitment; True where there is no note that tells."""
    try:
        known = object_of(read_json(read_file(note, most=_MOST_NOTE)))
    except (Unreadable, BadJson):
        return True
    return known.get("sha256") in (None, _content_of(data).hex())


def _content_of(data: Path) -> bytes:
    try:
        if data.is_dir():
            files = sorted(path for path in data.iterdir() if path.is_file())
            sums = [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
            return hashlib.sha256(json.dumps(sums).encode()).digest()
        return hashlib.sha256(data.read_bytes()).digest()
    except OSError as error:
        raise ConfigError(f"data is {data}, which cannot be read ({error.strerror}); name the shard's file") from error


def accepted(question: str, values: dict[str, str]) -> bool:
    """Whether the owner said accept=true, or says yes now. Ctrl-C at the question is a no, which ends the command."""
    if values.get("accept") == "true":
        return True
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        print()
        return False
    except KeyboardInterrupt:
        print("\nnothing was signed or sent")
        sys.exit(INTERRUPTED)
