"""`fl client INVITE FILE`: join a task, run the node that trains for it, and bring pay and stake home."""

from __future__ import annotations

import importlib.util
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from eth_account.signers.local import LocalAccount
from rich.console import Console

from clients.errors import JoinedElsewhere
from clients.joining.own_rows import differences
from clients.joining.preview import Previewing
from clients.joining.purse import Purse, check_purse, fill
from clients.joining.terms import Offer
from clients.keys.wallet import unlock
from clients.node.folder import NodeFolder
from clients.node.gateway import Gateway
from clients.node.loop import Node, load_app
from clients.payments.follower import Payee, PayFollower
from clients.payments.metrics import NodeMetrics, NoPrometheus, serving_metrics
from clients.privacy.spent import check_rows, limit_of
from clients.shard import survey_own_shard
from fl.bundle.http_client import ArchiveClient, ArchiveRefused, ArchiveUnreachable
from fl.bundle.invite_link import UNREACHED, load_invite
from fl.chain.accounts import ask_password, create_keystore, open_keystore
from fl.chain.enrolment import Enrolment
from fl.chain.erc20 import Token
from fl.chain.errors import KeystoreError
from fl.chain.escrow import Escrow
from fl.chain.invite import BadInvite, Invite
from fl.chain.json_file import write_json
from fl.chain.membership import TaskOnChain, TaskOver, check_gateway, join, read_task
from fl.chain.system_keyring import SERVICE, NoKeyring, keep_password, new_password
from fl.chain.task_state import Status, TaskState
from fl.chain.tokens import in_tokens, tokens, wei
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import is_whole, whole
from fl.cli.commands.join import INTERRUPTED, accepted, commit, is_committed
from fl.cli.terminal.data_table import print_reading
from fl.errors import ConfigError
from fl.foreign.files import expanded
from fl.machine_errors import LogFile
from fl.plain_text import indented, printable
from fl.privacy.terms import PrivacyTerms
from fl.task.bounds import read_spec
from fl.task.data import DataReading, FileStyle, Shard
from fl.task.data.file_style import SETTINGS

KNOWN = {
    "invite": "the coordinator's invite: a file, a link, or the line that begins with fairshare:",
    "data": "your rows: a table, or a folder with a pair of IDX files",
    "key": "keystore of the wallet, made if it is not there (default wallet.json)",
    "anvil": "index of one of Anvil's published test accounts instead, on chain 31337 only",
    "keyring": "true keeps the wallet's password in this system's keyring, and makes one up for a new wallet; nothing is typed then",
    "name": "what the coordinator's page calls you; your address without",
    "stake": "tokens to stake; as many as the task takes for your rows if not set",
    "accept": "true joins without asking",
    "folder": "what the node keeps: its identity, what it signed, receipts, logs; one a task (default node)",
    "claim": "false leaves pay and stake where they are at the end; `fl finish` fetches them",
    "app": "package.module:app of your own Flower ClientApp to run instead",
    "trust": "packages, with commas, whose models and losses a task may name on this machine",
    "drop_unlabelled": "true leaves rows without a label out instead of refusing the file",
    **SETTINGS,
    "threads": "of training (default 1)",
    "privacy.limit": "ε of a task with noise beyond which the node leaves it, with what it earned (default none)",
    "metrics": "port on this machine where Prometheus finds the node's figures, none by default",
}
_DEFAULT_APP = "clients.app:app"
_WALLET = "wallet.json"
_LONGEST_NAME = 40  # characters, as fl.coordinator.gateway.labels takes them


def main(arguments: Sequence[str]) -> None:
    """Check, show, ask, join, take part until the task is over, and bring the money home."""
    values = parse(
        named(arguments, "invite", "data", command="client"),
        known=KNOWN,
        command="client INVITE FILE",
        required=["invite", "data"],
    )
    settings = _settings(values)
    if len(name := values.get("name", "")) > _LONGEST_NAME or printable(name) != name:
        raise ConfigError(
            f"name is {printable(name, most=60)!r}; take 1 to {_LONGEST_NAME} characters that can be printed"
        )
    invite = invite_named(values)
    if not invite.gateway:
        raise ConfigError(
            f"the invite {printable(values['invite'], most=60)} has no gateway, so its task runs on one machine; ask the coordinator for "
            "the invite that `fl coordinator` printed"
        )
    # systemd and containers stop with SIGTERM: the same orderly end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = _folder_for(values, invite)
    with ExitStack() as stack:
        stack.enter_context(folder.held())
        stack.enter_context(_logging_to(folder.path / "node.log"))
        # Torch takes seconds to import, and the chain, the file and the password as many; whoever joined before needs no trial.
        trust, threads = values.get("trust", ""), int(settings["threads"])
        previewing = (
            None
            if folder.invite_path.exists()
            else stack.enter_context(Previewing(invite.spec, trust=trust, threads=threads))
        )
        escrow, token, terms, state = task = read_task(invite)
        _check_task(values, invite=invite, task=task)
        invite = replace(invite, coordinator=terms.coordinator)  # of today: it may have been handed over
        gateway = Gateway(invite.gateway, ca=invite.ca)
        # The file first: whoever has the wrong one needs no wallet.
        shard, reading = survey_own_shard(
            Path(values["data"]),
            spec=read_spec(invite.spec),
            style=FileStyle.of(values),
            drop_unlabelled=bool(settings["drop-unlabelled"]),
        )
        print_reading(reading, console=Console())
        write_json(folder.path / "data.json", reading.to_json())
        account = _wallet(values, invite=invite)
        folder.check(invite=invite, account=account.address)
        joining = escrow.joining(invite.id_bytes, account.address, from_block=invite.block)
        client = escrow.client(invite.id_bytes, account.address)
        if joining is not None and client.first_round:
            _check_membership(replace(joining[0], left_round=client.left_round), folder=folder)
            folder.bind(invite=invite, account=account.address)
            staked = tokens(client.stake)
            _choose_name(values, invite=invite, account=account)
            _say(f"{account.address} is a client of task {invite.task_id[:10]}… with {staked} tokens staked")
            for line in said_otherwise(values, folder=folder, stake=client.stake):
                _say(line)
        else:
            _check_open(invite, state)
            gateway.clock_offset_s()  # whoever cannot reach the coordinator should not stake
            if previewing is None:  # it was bound before, and not joined
                previewing = stack.enter_context(Previewing(invite.spec, trust=trust, threads=threads))
            offer = _offer(
                invite,
                task,
                values,
                account=account,
                shard=shard,
                reading=reading,
                previewing=previewing,
            )
            if not _joined(offer, values, escrow=escrow, token=token, account=account, folder=folder):
                print("nothing was signed or sent")
                return
        pay = PayFollower(
            invite,
            Payee(
                account=account,
                claims=values.get("claim") != "false",
                wallet=values.get("key", ""),
                limit=limit_of(values.get("privacy.limit", "")),
                rows=len(shard.data),
            ),
            folder=folder,
            gateway=gateway,
            say=_say,
        )
        if _is_over(state):
            with saying_what_stays(account):
                _follow(pay)
            return
        node = Node(
            folder,
            gateway=gateway,
            ca=invite.ca,
            app=values.get("app") or _DEFAULT_APP,
            node_config={
                **settings,
                "invite": str(folder.invite_path),
                "folder": str(folder.path),
                "privacy-limit": values.get("privacy.limit", ""),
                "rows": len(shard.data),
            },
            pay=pay,
            say=_say,
        )
        figures = NodeMetrics(folder, account=account.address, task_id=invite.id_bytes)
        with (
            saying_what_stays(account),
            serving_metrics(figures, port=values["metrics"]) if "metrics" in values else nullcontext(),
        ):
            node.run()


@contextmanager
def saying_what_stays(account: LocalAccount) -> Iterator[None]:
    """Whoever stops a node has not left: the stake is where it was."""
    try:
        yield
    except KeyboardInterrupt:
        _say(
            f"stopped; {account.address} is still a client, with its stake in the contract: the same command goes on where it was, `fl status` "
            "shows where one stands, `fl leave` ends it"
        )
        raise


def _settings(values: dict[str, str]) -> dict[str, str | int | bool]:
    for name in ("accept", "claim", "drop_unlabelled", "keyring"):
        if values.get(name, "true") not in ("true", "false"):
            raise ConfigError(f"{name} is {values[name]!r}; write {name}=true or {name}=false")
    threads = whole(values.get("threads", "1"), setting="threads")
    limit_of(values.get("privacy.limit", ""))
    if not values.get("key") and "anvil" not in values:
        values["key"] = _WALLET
    if not values.get("key") and not is_whole(values["anvil"]):
        raise ConfigError(f"anvil is {values['anvil']!r}; write the index of a test account, or key=FILE")
    # What is missing shows before anybody stakes.
    if "metrics" in values and importlib.util.find_spec("prometheus_client") is None:
        raise NoPrometheus
    app = values.get("app") or _DEFAULT_APP
    try:
        found = importlib.util.find_spec(app.partition(":")[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        load_app(app)  # which says what is wrong; one that is there is imported with the first round
    wallet = {"keystore": values["key"]} if values.get("key") else {"anvil-account": int(values["anvil"])}
    FileStyle.of(values)  # refuses what makes no sense
    return {
        **wallet,
        "shard": str(expanded(values["data"]).absolute()),
        "trust": values.get("trust", ""),
        "style": json.dumps({key: values[key] for key in SETTINGS if key in values}),
        "drop-unlabelled": values.get("drop_unlabelled") == "true",
        "threads": threads,
    }


def invite_named(values: dict[str, str]) -> Invite:
    """The invite; of a link whose gateway does not answer now, the one that a folder keeps since it was joined from. Raises: BadInvite."""
    try:
        return load_invite(values["invite"])
    except BadInvite as error:
        if not error.problem.startswith(UNREACHED):
            raise
        named = expanded(values.get("folder") or "node")
        for path in (named, *sorted(named.parent.glob("node-*"))):
            with suppress(BadInvite):
                kept = Invite.read(path / "invite.json")
                if kept.link == values["invite"].strip():
                    print(f"the link's gateway does not answer now; going on with the invite in {path}")
                    return kept
        raise


def _folder_for(values: dict[str, str], invite: Invite) -> NodeFolder:
    """The folder that was named; else ./node or, where that is another task's, one that is named for this task."""
    folder = NodeFolder(path=expanded(values.get("folder") or "node").absolute())
    if (
        values.get("folder")
        or not folder.invite_path.exists()
        or Invite.read(folder.invite_path).task_id == invite.task_id
    ):
        return folder
    own = NodeFolder(path=folder.path.with_name(f"node-{invite.task_id[2:10]}"))
    print(f"./node is another task's; this one's folder is {own.path.name}")
    return own


def _wallet(values: dict[str, str], *, invite: Invite) -> LocalAccount:
    if not values.get("key"):
        return signer(None, chain_id=invite.chain_id, anvil_index=int(values["anvil"]))
    path = expanded(values["key"])
    into_keyring = values.get("keyring") == "true"
    try:
        if not path.exists():
            password, keeper = _new_password(path, into_keyring=into_keyring)
            account = create_keystore(path, password=password)
            print(f"made the keystore {path} of {account.address}; {keeper}")
        elif into_keyring:
            password = ask_password(path)
            account = open_keystore(path, password=password)
            _try_to_keep(path, password)
        else:
            if path.stat().st_mode & 0o077:
                raise KeystoreError(path=str(path), problem=f"can be read by others; run chmod 600 {path}")
            account = open_keystore(path, password=ask_password(path))
    except EOFError:
        problem = "has a password, and nobody is there to type it; set FAIRSHARE_PASSWORD"
        raise KeystoreError(path=str(path), problem=problem) from None
    except KeyboardInterrupt:
        print("\nnothing was signed or sent")
        sys.exit(INTERRUPTED)
    unlock(values["key"], account)
    return account


def _new_password(path: Path, *, into_keyring: bool) -> tuple[str, str]:
    """A new wallet's password, and who keeps it: the system's keyring where that is wanted and can be had, or else its owner."""
    if into_keyring:
        password = new_password()
        if _try_to_keep(path, password):
            told = f"its password is in this system's keyring (service {SERVICE}), which shows it to whoever is logged in; keep both"
            return password, told
    return ask_password(path, confirm=True), "keep it and its password, nobody can restore them"


def _try_to_keep(path: Path, password: str) -> bool:
    try:
        keep_password(path, password)
    except NoKeyring as error:
        print(f"{error}, so its password is asked for")
        return False
    return True


def _choose_name(values: dict[str, str], *, invite: Invite, account: LocalAccount) -> None:
    """Tell the coordinator's page what to call the account; it goes on without where that is not taken."""
    if not values.get("name"):
        return
    try:
        ArchiveClient.of_gateway(invite, account=account).post("label", {"label": values["name"]})
    except (ArchiveRefused, ArchiveUnreachable) as error:
        _say(f"the coordinator's page does not call you {printable(values['name'], most=60)}: {error.reason}")


def said_otherwise(values: dict[str, str], *, folder: NodeFolder, stake: int) -> Iterator[str]:
    """What a later start says that the joining has settled.

    Args:
        values: As typed.
        folder: The node's.
        stake: Wei, as the chain has it.
    """
    if "stake" in values and wei(values["stake"], setting="stake") != stake:
        yield f"stake={values['stake']} changes nothing: the stake is set when a client joins"
    if not is_committed(expanded(values["data"]), note=folder.path / "commitment.json"):
        yield (
            f"{printable(values['data'], most=100)} is another file than the one that this account committed to when it joined; it trains "
            "on this one from now on"
        )


def _check_membership(known: Enrolment, *, folder: NodeFolder) -> None:
    if not folder.node_key_path.exists() or folder.node_key() != known.node_key:
        raise JoinedElsewhere(
            account=known.account,
            how=f"joined with another node key than {folder.node_key_path}; start it with the folder=… that it joined from",
        )
    if known.left_round:
        raise JoinedElsewhere(
            account=known.account,
            how=f"left the task before round {known.left_round} and cannot come back; `fl status` shows what is due to it",
        )


def _check_task(values: dict[str, str], *, invite: Invite, task: TaskOnChain) -> None:
    escrow, _, terms, state = task
    if values.get("key") and not expanded(values["key"]).exists():
        _check_open(
            invite, state
        )  # whoever has no wallet yet cannot have joined, and needs none for a task that takes nobody
    if not _is_over(state):
        check_gateway(invite, terms, escrow=escrow)


def _check_open(invite: Invite, state: TaskState) -> None:
    if state.status not in (Status.OPEN, Status.STARTED):
        raise TaskOver(task_id=invite.task_id, status=state.status.name.lower())
    if state.joining_closed:
        raise TaskOver(task_id=invite.task_id, status="full: its sponsor has closed the joining")


def _offer(
    invite: Invite,
    task: TaskOnChain,
    values: dict[str, str],
    *,
    account: LocalAccount,
    shard: Shard,
    reading: DataReading,
    previewing: Previewing,
) -> Offer:
    escrow, token, terms, state = task
    spec, app = read_spec(invite.spec), values.get("app") or _DEFAULT_APP
    check_rows(PrivacyTerms.of(spec.get("privacy")), rows=len(shard.data), own_app="" if app == _DEFAULT_APP else app)
    expected = min(len(shard.data) * terms.min_stake, terms.max_stake)
    stake = wei(values["stake"], setting="stake") if "stake" in values else expected
    return Offer(
        invite=invite,
        spec=spec,
        terms=terms,
        state=state,
        others=tuple(escrow.enrolments(invite.id_bytes, from_block=invite.block).values()),
        purse=Purse.of(escrow, token, account=account.address, stake=stake),
        data=shard.data,
        read=reading.header,
        unlike=differences(spec=spec, data=shard.data),
        # An app of the owner's own trains in its own way, which a trial of ours says nothing of.
        preview=previewing.of(shard.data if app == _DEFAULT_APP else None),
        app=app,
        name=values.get("name", ""),
    )


def _joined(
    offer: Offer, values: dict[str, str], *, escrow: Escrow, token: Token, account: LocalAccount, folder: NodeFolder
) -> bool:
    """Fetch the money where it is free, show, ask, stake; returns whether the owner said yes. Raises: NotFunded."""
    invite = offer.invite
    purse, why = fill(offer.purse, invite=invite, escrow=escrow, token=token, say=print)
    offer = replace(offer, purse=purse)
    print("\n".join(offer.lines()))
    check_purse(purse, invite=invite, why=why)
    if not accepted(f"stake {in_tokens(purse.stake)} and take part? [y/N] ", values):
        return False
    folder.bind(invite=invite, account=account.address)
    dataset = commit(
        expanded(values["data"]),
        note=folder.path / "commitment.json",
        task_id=invite.task_id,
        account=account.address,
    )
    _, joined = join(invite, account=account, stake=purse.stake, node_key=folder.node_key(), dataset=dataset)
    _say(f"joined in transaction {joined.hash}, {joined.gas} gas")
    _choose_name(values, invite=invite, account=account)
    _say(f"your page: {invite.gateway}/#/{account.address}")
    return True


def _follow(pay: PayFollower) -> None:
    pay.start()
    try:
        while not pay.over:
            time.sleep(0.1)
    finally:
        pay.stop()


def _is_over(state: TaskState) -> bool:
    return state.status in (Status.HALTED, Status.CLOSED) or state.posted >= state.rounds


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Everything to the file, Flower's lines too; the terminal has one line a round."""
    path.touch(mode=0o600)
    handler = LogFile(path)
    handler.setFormatter(_PlainLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, flower = logging.getLogger(), logging.getLogger("flwr")
    before = root.level, flower.handlers[:], flower.propagate
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every poll
    flower.handlers.clear()
    flower.propagate = True
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(before[0])
        flower.handlers[:], flower.propagate = before[1], before[2]


class _PlainLines(logging.Formatter):
    """A record is one line, and those of a traceback are set in: nobody else's words can pass for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's own line."""
        record.message = printable(record.message, most=2000)
        return super().formatMessage(record)

    def formatException(self, ei: logging._SysExcInfoType) -> str:
        """The lines of a traceback."""
        lines = super().formatException(ei).splitlines()
        return "\n".join(" " * (4 + len(line) - len(line.lstrip(" "))) + printable(line) for line in lines)


def _say(line: str) -> None:
    line = indented(line)  # it may hold words of the coordinator's or of a chain's
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
    logging.getLogger("clients").info(line)
