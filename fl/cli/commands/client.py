"""`fl client`: join a task and run the node that trains for it, until it is over."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from eth_account.signers.local import LocalAccount
from rich.console import Console

import clients
import fl
from clients.errors import JoinedElsewhere
from clients.keys.wallet import unlock
from clients.node.folder import NodeFolder
from clients.node.gateway import Gateway
from clients.node.loop import Node, load_app
from clients.payments.follower import PayFollower
from clients.payments.metrics import NodeMetrics, serving_metrics
from clients.preview import preview
from clients.shard import survey_own_shard
from fl.chain.accounts import ask_password, create_keystore, open_keystore
from fl.chain.errors import KeystoreError
from fl.chain.escrow import Client, Status, TaskState, Terms
from fl.chain.invite import Invite
from fl.chain.json_file import write_json
from fl.chain.membership import TaskOver, join, read_task
from fl.chain.tokens import WEI, wei
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import is_whole, whole
from fl.cli.commands.join import accepted, commit
from fl.cli.terminal.data_table import print_reading
from fl.codec.keccak import keccak
from fl.errors import ConfigError
from fl.plain_text import printable
from fl.task.bounds import MOST_MODEL, MOST_ROWS_A_ROUND, WHOLE, read_spec
from fl.task.data import FileStyle, Shard
from fl.task.data.file_style import SETTINGS

KNOWN = {
    "invite": "the coordinator's invite: a file, or the line that begins with fairshare:",
    "data": "the shard: a table, or a folder with a pair of IDX files",
    "key": "keystore of the wallet, made if it is not there; on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "stake": "tokens to stake; as many as the task takes for the shard's rows if not set",
    "accept": "true joins without asking",
    "folder": "what the node keeps: its identity, what it signed, receipts, logs; one a task (default node)",
    "claim": "false leaves the pay where it is at the end; `fl claim` fetches it",
    "app": "package.module:app of your own Flower ClientApp to run instead",
    "trust": "packages, with commas, whose models and losses a task may name on this machine",
    "drop_unlabelled": "true leaves rows without a label out instead of refusing the file",
    **SETTINGS,
    "threads": "of training (default 1)",
    "metrics": "port on this machine where Prometheus finds the node's figures, none by default",
}
_DEFAULT_APP = "clients.app:app"


def main(arguments: Sequence[str]) -> None:
    """Check, show, ask, join, and take part until the task is over."""
    values = parse(arguments, known=KNOWN, command="client", required=["invite", "data"])
    settings = _settings(values)
    invite = Invite.load(values["invite"])
    if not invite.gateway:
        raise ConfigError(
            f"the invite {printable(values['invite'], most=60)} names no gateway, so its task runs on one machine; ask the coordinator for "
            "the invite that `fl coordinator` printed"
        )
    # systemd and containers stop with SIGTERM: the same orderly end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = NodeFolder(path=Path(values.get("folder") or "node").expanduser().absolute())
    with folder.held(), _logging_to(folder.path / "node.log"):
        escrow, _, terms, state = read_task(invite)
        gateway = Gateway(invite.gateway, ca=invite.ca)
        account = _wallet(values, invite=invite)
        folder.check(invite=invite, account=account.address)
        shard, reading = survey_own_shard(
            Path(values["data"]),
            spec=read_spec(invite.spec),
            style=FileStyle.of(values),
            drop_unlabelled=settings["drop-unlabelled"],
        )
        print_reading(reading, console=Console())
        write_json(folder.path / "data.json", reading.to_json())
        known = escrow.client(invite.id_bytes, account.address)
        if known.first_round:
            _check_membership(known, folder=folder, account=account.address)
            folder.bind(invite=invite, account=account.address)
            _say(
                f"{account.address} is a client of task {invite.task_id[:10]}… with {_tokens(known.stake)} tokens staked"
            )
        elif not _join(
            invite, values, terms=terms, state=state, gateway=gateway, account=account, shard=shard, folder=folder
        ):
            print("nothing was signed or sent")
            return
        pay = PayFollower(
            invite,
            folder=folder,
            gateway=gateway,
            account=account,
            claims=values.get("claim") != "false",
            say=_say,
        )
        if _is_over(terms, state):
            _follow(pay)
            return
        node = Node(
            folder,
            gateway=gateway,
            ca=invite.ca,
            app=values.get("app") or _DEFAULT_APP,
            node_config={**settings, "invite": str(folder.invite_path), "folder": str(folder.path)},
            pay=pay,
            say=_say,
        )
        figures = NodeMetrics(folder, account=account.address, task_id=invite.id_bytes)
        with serving_metrics(figures, port=values["metrics"]) if "metrics" in values else nullcontext():
            node.run()


def _settings(values: dict[str, str]) -> dict[str, str | int | bool]:
    for name in ("accept", "claim", "drop_unlabelled"):
        if values.get(name, "true") not in ("true", "false"):
            raise ConfigError(f"{name} is {values[name]!r}; write {name}=true or {name}=false")
    threads = whole(values.get("threads", "1"), setting="threads")
    if not values.get("key") and not is_whole(values.get("anvil", "")):
        raise ConfigError(
            "key is not set; add key=FILE, which is made if it is not there, or anvil=INDEX on a local Anvil"
        )
    app = values.get("app") or _DEFAULT_APP
    try:
        found = find_spec(app.partition(":")[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        load_app(app)  # which says what is wrong; one that is there is imported with the first round
    wallet = {"keystore": values["key"]} if values.get("key") else {"anvil-account": int(values["anvil"])}
    FileStyle.of(values)  # refuses what makes no sense
    return {
        **wallet,
        "shard": str(Path(values["data"]).expanduser().absolute()),
        "trust": values.get("trust", ""),
        "style": json.dumps({key: values[key] for key in SETTINGS if key in values}),
        "drop-unlabelled": values.get("drop_unlabelled") == "true",
        "threads": threads,
    }


def _wallet(values: dict[str, str], *, invite: Invite) -> LocalAccount:
    if not values.get("key"):
        return signer(None, chain_id=invite.chain_id, anvil_index=int(values["anvil"]))
    path = Path(values["key"]).expanduser()
    try:
        if not path.exists():
            account = create_keystore(path, password=ask_password(path, confirm=True))
            print(f"made the keystore {path} of {account.address}; keep it and its password, nobody can restore them")
        else:
            if path.stat().st_mode & 0o077:
                raise KeystoreError(path=str(path), problem=f"can be read by others; run chmod 600 {path}")
            account = open_keystore(path, password=ask_password(path))
    except EOFError:
        problem = "has a password, and nobody is there to type it; set FAIRSHARE_PASSWORD"
        raise KeystoreError(path=str(path), problem=problem) from None
    unlock(values["key"], account)
    return account


def _check_membership(known: Client, *, folder: NodeFolder, account: str) -> None:
    if not folder.node_key_path.exists() or keccak(folder.node_key()) != known.node_key_hash:
        raise JoinedElsewhere(
            account=account,
            how=f"joined with another node key than {folder.node_key_path}; start it with the folder=… that it joined from",
        )
    if known.left_round:
        raise JoinedElsewhere(
            account=account,
            how=f"left the task before round {known.left_round} and cannot come back; `fl status` shows what is due to it",
        )


def _join(
    invite: Invite,
    values: dict[str, str],
    *,
    terms: Terms,
    state: TaskState,
    gateway: Gateway,
    account: LocalAccount,
    shard: Shard,
    folder: NodeFolder,
) -> bool:
    """Show, ask, stake; returns whether the owner said yes."""
    if state.status not in (Status.OPEN, Status.STARTED):
        raise TaskOver(task_id=invite.task_id, status=state.status.name.lower())
    gateway.clock_offset_s()  # whoever cannot reach the coordinator should not stake
    rows = len(shard.data)
    stake = wei(values["stake"], setting="stake") if "stake" in values else min(rows * terms.min_stake, terms.max_stake)
    _show(invite, values, terms=terms, state=state, account=account, shard=shard, stake=stake)
    if not accepted(f"stake {_tokens(stake)} tokens and take part? [y/N] ", values):
        return False
    folder.bind(invite=invite, account=account.address)
    dataset = commit(
        Path(values["data"]).expanduser(),
        note=folder.path / "commitment.json",
        task_id=invite.task_id,
        account=account.address,
    )
    _, joined = join(invite, account=account, stake=stake, node_key=folder.node_key(), dataset=dataset)
    _say(f"joined in transaction {joined.hash}, {joined.gas} gas")
    return True


def _show(
    invite: Invite,
    values: dict[str, str],
    *,
    terms: Terms,
    state: TaskState,
    account: LocalAccount,
    shard: Shard,
    stake: int,
) -> None:
    spec = read_spec(invite.spec)
    own = values.get("app", _DEFAULT_APP) == _DEFAULT_APP
    seen = preview(invite.spec, trust=values.get("trust", ""), rows=shard.data if own else None)
    counts = shard.data.class_counts(int(spec["num_classes"])).tolist()
    names = spec.get("class_names") or [str(number) for number in range(len(counts))]
    held = ", ".join(f"{count} {_word(name)}" for name, count in zip(names, counts, strict=False) if count)
    reveal = "after each round" if terms.reveal_each_round else "at the end of the task"
    app = values.get("app") or _DEFAULT_APP
    print(f"task {invite.task_id}")
    for what, text in {
        "where": f"chain {invite.chain_id}, contract {invite.contract}, gateway {_word(invite.gateway, most=100)}",
        "coordinator": f"{terms.coordinator}, {state.clients} clients so far, {state.posted} of {terms.rounds} rounds posted",
        "pays": f"up to {_tokens(terms.budget)} tokens ({invite.token}) over {terms.rounds} rounds, by score",
        "trains": f"{_word(spec['model'], most=100)}, {seen.parameters:,} values, {seen.steps:,} steps of "
        f"{seen.batch_size:,} rows a round, strategy {_word(seen.strategy)}",
        "no task may": f"ask for more than {MOST_MODEL:,} values, {WHOLE['steps'][1]:,} steps or {MOST_ROWS_A_ROUND:,} rows a round",
        "your data": f"{len(shard.data)} rows{f' ({held})' if held else ''}; they stay on this machine",
        "you stake": f"{_tokens(stake)} tokens of {account.address} ({_tokens(terms.min_stake)} to {_tokens(terms.max_stake)} are "
        "taken; more is more weight); back at the end, lost for two signed updates of one round",
        "you sign": "one Update(task, round, client, base model, update root) a round, for this task and nothing else",
        "you send": f"{seen.update_bytes:,} bytes a round: the difference that training made, with that signature",
        "scored by": f"{terms.quorum} of {len(terms.evaluators)} evaluators; what the scores came from is revealed {reveal}"
        + ("; attested: nobody can challenge a score on chain" if terms.attested else ""),
        "deadlines": f"a round is final {_span(terms.challenge_window)} after its post; a silent coordinator can be ended "
        f"after {_span(terms.round_timeout)}; claim within {_span(terms.claim_period)} of the end",
        "runs": f"{app} of fairshare {version('fairshare')}, code {_code_hash()}; no code of the coordinator's",
        "spec": f"sha256 0x{invite.spec_hash.hex()}, as on chain",
    }.items():
        print(f"  {what:<12} {printable(text)}")
    if seen.base_model != terms.base_model:
        print(
            "  note         the task starts from another model than this machine's torch makes; it is sent with round 1"
        )


def _word(told: object, *, most: int = 50) -> str:
    """A word of the coordinator's, too short to fill a line of a terminal and to begin another one."""
    return printable(told, most=most)


def _follow(pay: PayFollower) -> None:
    pay.start()
    try:
        while not pay.over:
            time.sleep(0.1)
    finally:
        pay.stop()


def _is_over(terms: Terms, state: TaskState) -> bool:
    return state.status in (Status.HALTED, Status.CLOSED) or state.posted >= terms.rounds


def _code_hash() -> str:
    """The first 16 hex digits of sha256 over all Python files of the two packages, by name."""
    digest = hashlib.sha256()
    for package in (fl, clients):
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _tokens(amount: int) -> str:
    whole = amount / WEI
    return f"{whole:,.2f}".removesuffix(".00") if whole >= 1 else f"{whole:g}"


def _span(seconds: int) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds} s"


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Everything to the file, Flower's lines too; the terminal has one line a round."""
    path.touch(mode=0o600)
    handler = logging.FileHandler(path)
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

    def formatException(self, ei: object) -> str:
        """The lines of a traceback."""
        lines = super().formatException(ei).splitlines()
        return "\n".join(" " * (4 + len(line) - len(line.lstrip(" "))) + printable(line) for line in lines)


def _say(line: str) -> None:
    line = printable(line)  # it may hold words of the coordinator's or of a chain's
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
    logging.getLogger("clients").info(line)
