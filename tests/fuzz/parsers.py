"""Everything that reads what somebody else wrote, with something honest that it reads: what the fuzzer begins with."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openpyxl
from cryptography.hazmat.primitives.asymmetric import ec
from eth_account import Account
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import Metadata, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from clients.keys.ledger import FolderLedger
from clients.node.answers import TooMuch, check_bundle
from fl.audit.archive import Archive, write_archive
from fl.audit.disputes.evidence import read_receipts, read_seen
from fl.audit.evaluators.remote import SignedHeaders
from fl.audit.evaluators.remote import _header as _waiting_header
from fl.bounded_http import Answer
from fl.bundle.files import BundleFolder, read_manifest
from fl.bundle.format import Bundle, BundledUpdate, read_header, write_header
from fl.bundle.http_client import ArchiveClient
from fl.bundle.round_record import header_to_json, leaves_of, read_round
from fl.bundle.store import BundleStore
from fl.bundle.validation_set import read_validation, validation_bytes
from fl.chain.access import access_token, account_of
from fl.chain.accounts import open_keystore
from fl.chain.deployment import Deployment
from fl.chain.invite import Invite
from fl.chain.json_file import seal
from fl.chain.node_key import create_node_key, open_node_key
from fl.chain.provider import _asks_to_wait, _is_behind
from fl.chain.provider import _read as read_answer
from fl.chain.tokens import wei
from fl.chain.typed_data import Domain, Header, Receipt, Update, sign
from fl.cli.arguments.office import keystore_of
from fl.cli.arguments.overrides import check
from fl.cli.arguments.values import number_of, whole
from fl.cli.commands.score import _data_config
from fl.codec import Blocks, Layout, block_root, model_hash
from fl.coordinator.gateway.node_calls import _problem_of
from fl.coordinator.gateway.node_key_check import NotEnrolled, caller_of
from fl.coordinator.round.collect import AcceptedUpdate, Question, Refusal
from fl.coordinator.round.journal import Journal
from fl.coordinator.superlink.process import _empty_app
from fl.foreign.json_text import read_json
from fl.foreign.yaml_text import read_yaml
from fl.protocol import SignedUpdate
from fl.rewards import Leaf
from fl.task.data import Dataset, TableSchema, read_shard
from fl.task.data.holdout_files import _read_terms
from fl.task.data.idx import ImagePair, read_idx, write_pair
from fl.task.data.schema import CategoricalColumn, NumericColumn
from fl.task.data.workbook import read_workbook
from fl.task.saved_model import SavedModel
from fl.task.spec import TaskSpec, dataset_hash
from fl.task.trust import Trust

TASK, SIZE, NOW = b"\x07" * 32, 8, 1_700_000_000
KEY = Account.from_key(b"\x01" * 32)
SCHEMA = TableSchema(
    names=("age", "sex", "label"),
    has_header=True,
    columns=(
        NumericColumn(name="age", mean=40.0, std=9.5, marks_missing=True, zero_is_missing=False),
        CategoricalColumn(name="sex", levels=("f", "m"), marks_missing=True, zero_is_missing=False),
    ),
    target="label",
    class_names=("well", "sick"),
    positive_above=None,
    label_map=(),
    missing=("", "na"),
)
_SHARD = b"age,sex,label\n41,f,sick\n38,,well\n55.5,m,sick\n"
DOMAIN = Domain(chain_id=31337, contract="0x" + "11" * 20)


@dataclass(frozen=True)
class Parser:
    """One way in."""

    name: str
    seeds: tuple[bytes, ...]  # that it reads
    read: Callable[[bytes], object]
    share: float = 1.0  # of the inputs; less for what takes long


def parsers(folder: Path) -> list[Parser]:
    """All of them, over a folder that each may write into."""
    update, bundle = _update(), _bundle()
    bundle.write(folder / "bundle")
    write_header(folder / "bundle", _header(), signatures=[b"s" * 65])
    files = {path.relative_to(folder / "bundle").as_posix(): path.read_bytes()
             for path in (folder / "bundle").rglob("*") if path.is_file()}  # fmt: skip
    here = BundleFolder(folder / "bundle")
    spec = TaskSpec(
        model="torch.nn:Linear",
        model_arguments={"in_features": 3, "out_features": 2},
        feature_shape=(3,),
        num_classes=2,
    )
    table = TaskSpec(
        model="fl.task.models:MLP", model_arguments={"hidden": [4]}, feature_shape=(SCHEMA.num_features,), num_classes=2,
        schema=json.loads(SCHEMA.to_json()), duplicate_cosine="0.98", scorer="shapley", strategy="fedadam",
    )  # fmt: skip
    invite = Invite(
        chain_id=31337, url="http://127.0.0.1:8545", contract="0x" + "11" * 20, token="0x" + "22" * 20, block=3,
        task_id="0x" + "ab" * 32, coordinator="0x" + "33" * 20, spec=spec.to_json(), gateway="https://localhost:8443",
    )  # fmt: skip
    deployment = Deployment(
        chain_id=31337, url="http://127.0.0.1:8545", contract="0x" + "11" * 20, token="0x" + "22" * 20
    )
    keystore = json.dumps(Account.encrypt(KEY.key, "word", kdf="scrypt", iterations=2)).encode()
    rows = Dataset(features=np.zeros((4, 3), dtype=np.float32), labels=np.zeros(4, dtype=np.int64))
    at = _Places(folder)
    return [
        Parser("json", (b'{"a": [1, 2.5, null, true, "x"], "b": {"c": "d"}}',), read_json),
        Parser("yaml", (b"data: {path: rows.csv, test: 0.2}\nseed: 3\n",), read_yaml, 0.3),
        Parser("spec", (spec.to_json().encode(), table.to_json().encode()), _read_spec),
        Parser("schema", (SCHEMA.to_json().encode(),), lambda data: TableSchema.from_json(data.decode(errors="replace"))),
        Parser("manifest", (files["manifest.json"],), lambda data: read_manifest(data, here)),
        Parser("round.json", (files["round.json"],), lambda data: read_round(data, where="here")),
        Parser("leaves", (files["round.json"],), lambda data: leaves_of(data, where="here")),
        Parser("header.json", (files["header.json"],), lambda data: read_header(_One(data))),
        Parser("blocks", (files["direction.blocks"],), lambda data: Blocks.from_bytes(data, size=SIZE)),
        Parser("model", (files["base.safetensors"],), lambda data: Bundle.parse({**files, "base.safetensors": data}, where="here"), 0.5),
        Parser("bundle", (files["round.json"],), lambda data: Bundle.parse({**files, "round.json": data}, where="here"), 0.5),
        Parser("validation", (validation_bytes(rows),), lambda data: read_validation(data, where="here", expected=dataset_hash(rows))),
        Parser("invite", (json.dumps(asdict(invite)).encode(),), lambda data: Invite.read(at.file("invite.json", data))),
        Parser("invite line", (invite.to_string().encode(),), lambda data: Invite.load("fairshare:" + data.decode("latin-1")[10:])),
        Parser("deployment", (json.dumps(asdict(deployment)).encode(),), lambda data: Deployment.read(at.file("deployment.json", data))),
        Parser("keystore", (keystore,), lambda data: open_keystore(at.file("key.json", data), password="word"), 0.3),
        Parser("node key", (_node_key(folder),), lambda data: open_node_key(at.file("node_key", data)), 0.1),
        Parser("receipts", (_receipts(),), lambda data: _read_receipts(at.file("receipts.json", data))),
        Parser("seen updates", (_seen(),), lambda data: read_seen(at.file("seen.json", data))),
        Parser("journal", (_journal(folder, update),), lambda data: _read_journal(folder, data, update), 0.3),
        Parser("ledger", (_ledger(folder, update),), lambda data: _read_ledger(folder, data), 0.5),
        Parser("kept receipts", (_receipts(),), lambda data: _read_kept_receipts(folder, data), 0.5),
        Parser("answer", (b'{"detail": "no"}', b'{"header": {}, "round": 1}'), _read_answer),
        Parser("shard", (_SHARD, gzip.compress(_SHARD, mtime=0)), lambda data: read_shard(at.file("rows.csv", data), schema=SCHEMA), 0.5),
        Parser("amount", (b"1000", b"0.5", b"1000"), lambda data: wei(data.decode("latin-1"), setting="stake")),
        Parser("number", (b"3", b"0.25"), lambda data: _both_numbers(data.decode("latin-1"))),
        Parser("archive", (_archive(folder, invite),), lambda data: _read_archive(at.file("archive.zip", data)), 0.3),
        Parser("saved model", (_saved(folder, spec),), lambda data: SavedModel.read(at.file("best.safetensors", data))),
        Parser("rpc answer", (b'{"jsonrpc": "2.0", "id": 1, "result": "0x2a"}', b'{"id": 1, "error": {"code": -32005, "message": "slow down"}}'), _read_rpc_answer),
        Parser("access token", (_token(),), lambda data: account_of(data.decode("latin-1"), domain=DOMAIN, task_id=TASK, now=NOW)),
        Parser("head of a node's call", (_head(),), _read_head, 0.3),
        Parser("announcement", (_announcement(),), _problem_of),
        Parser("bundled code", (_empty_app("fairshare"),), _read_bundled_code),
        Parser("signed headers", (_signed_headers(folder),), lambda data: SignedHeaders(at.file("signed.json", data)).known(), 0.5),
        Parser("header that waits", (json.dumps({"header": header_to_json(_header())}).encode(),), lambda data: _waiting_header(read_json(data))),
        Parser("dealt data", (json.dumps({"schema": json.loads(SCHEMA.to_json())}).encode(),), lambda data: _read_terms(at.file("holdout.json", data).parent)),
        Parser("images", (_images(folder),), lambda data: read_idx(at.file("images-idx3", data), dimensions=3)),
        Parser("workbook", _workbook(), lambda data: read_workbook(at.file("rows.xlsx", data), data), 0.1),
        Parser("settings", (b'{"settings": ["chain.key=wallet.json", "task.rounds=3"]}',), lambda data: keystore_of(at.file("settings.json", data).parent)),
        Parser("a run's settings", (b"data: {name: csv, path: rows.csv, target: label}\nseed: 3\n",), lambda data: _read_run(folder, data), 0.3),
        Parser("overrides", (b"task.steps=5 model=mlp", b"scorer.duplicate_cosine=0.9 data=digits", b"task.budget=10,20 +model.arguments.hidden=[3,4]"), _read_overrides, 0.05),
    ]  # fmt: skip


class _Places:
    """Files that are rewritten for each input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str, data: bytes) -> Path:
        """A file of that content, for its owner only."""
        path = self._folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path


@dataclass(frozen=True)
class _One:
    """A bundle every file of which is the same."""

    data: bytes
    where: str = "here"

    def read(self, name: str) -> bytes:
        """That one."""
        return self.data


def _read_spec(data: bytes) -> None:
    spec = TaskSpec.from_json(data.decode(errors="replace"), trust=Trust())
    spec.build_loss()
    spec.build_model()


def _read_answer(data: bytes) -> None:
    answer = Answer(status=200, headers={}, body=data, phrase="OK")
    ArchiveClient._json(SimpleNamespace(_url=str), "evaluations", answer)


def _both_numbers(text: str) -> None:
    whole(text, setting="threads")
    number_of(text, setting="every")


def _read_overrides(data: bytes) -> None:
    check(data.decode("latin-1").split(" "))


def _archive(folder: Path, invite: Invite) -> bytes:
    bundle = folder / "bundles" / "round-0001"
    _bundle().write(bundle)
    write_header(bundle, _header(), signatures=[b"s" * 65])
    path = folder / "archive.zip"
    write_archive(
        path, invite=invite, bundles=BundleStore.at(str(folder / "bundles")), rounds=[1], receipts=folder / "none", revealed=True,
        account=KEY,
    )  # fmt: skip
    return path.read_bytes()


def _read_archive(path: Path) -> None:
    files = Archive.open(path).bundle(1)
    for name in ("header.json", "manifest.json", "round.json", "direction.blocks"):
        files.read(name)


def _saved(folder: Path, spec: TaskSpec) -> bytes:
    arrays = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    SavedModel(arrays=arrays, spec=spec.to_json(), about={"round": "1"}).write(folder / "saved.safetensors")
    return (folder / "saved.safetensors").read_bytes()


def _read_rpc_answer(data: bytes) -> None:
    answer = read_answer(data) or {}
    for method in ("eth_call", "eth_getLogs", "eth_getBlockByNumber"):
        _asks_to_wait(method, answer.get("error"))
        _is_behind(method, answer)


def _token() -> bytes:
    return access_token(KEY, domain=DOMAIN, task_id=TASK, expires=NOW + 60).encode()


_NODE = ec.generate_private_key(ec.SECP384R1())


def _head() -> bytes:
    key, told = (
        b64encode(public_key_to_bytes(_NODE.public_key())).decode(),
        dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat(),
    )
    signature = b64encode(sign_message(_NODE, told.encode())).decode()
    return json.dumps({"flwr-public-key": key, "flwr-timestamp": told, "flwr-signature": signature}).encode()


def _read_head(data: bytes) -> None:
    with suppress(ValueError):
        raw = json.loads(data)
        if isinstance(raw, dict):
            headers = {name: str(value) for name, value in raw.items()}
            with suppress(NotEnrolled):
                # Whatever key it bears is taken for an enrolled one.
                caller_of(headers, node_of=lambda key: 7, now=dt.datetime.fromtimestamp(NOW, dt.UTC))


def _announcement() -> bytes:
    message = ProtoMessage(metadata=Metadata(src_node_id=7, message_id="a" * 64))
    tree = ObjectTree(object_id="a" * 64, children=[ObjectTree(object_id="b" * 64)])
    return PushMessagesRequest(
        node=Node(node_id=7), messages_list=[message], message_object_trees=[tree]
    ).SerializeToString()


def _read_bundled_code(data: bytes) -> None:
    with suppress(TooMuch):
        check_bundle(data)


def _signed_headers(folder: Path) -> bytes:
    SignedHeaders(folder / "signed.json").keep(1, b"h" * 32)
    return (folder / "signed.json").read_bytes()


def _images(folder: Path) -> bytes:
    pair = ImagePair(source=folder, images=np.zeros((2, 3, 3), np.uint8), labels=np.zeros(2, np.uint8), white=255.0)
    write_pair(folder / "images", pair)
    packed = next((folder / "images").glob("*images*")).read_bytes()
    return gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed


def _workbook() -> tuple[bytes, ...]:
    book, written = openpyxl.Workbook(), io.BytesIO()
    for row in (("age", "sex", "label"), (41, "f", "sick"), (38, None, "well")):
        book.active.append(row)
    book.save(written)
    return (written.getvalue(),)


def _read_run(folder: Path, data: bytes) -> None:
    (folder / "run" / "hydra").mkdir(parents=True, exist_ok=True)
    (folder / "run" / "hydra" / "config.yaml").write_bytes(data)
    _data_config({}, folder / "run")


def _update() -> AcceptedUpdate:
    blocks = Blocks.encode(np.linspace(-1, 1, SIZE))
    wire = blocks.to_bytes()
    told = Update(
        task_id=TASK, round=1, client=KEY.address, base_model=model_hash(_base()), update_root=block_root(wire)
    )
    return AcceptedUpdate(
        account=KEY.address, node_id=2, stake=5, blocks=blocks, wire=wire, root=block_root(wire),
        signature=sign(told, domain=DOMAIN, account=KEY), metrics={"train-loss": 0.5},
    )  # fmt: skip


def _base() -> np.ndarray:
    return np.zeros(SIZE, dtype=np.float32)


def _bundle() -> Bundle:
    update = _update()
    leaf = Leaf(account=KEY.address, update_root=update.root, weight=1 << 32, score=-3, total=-3, cumulative=0)
    return Bundle(
        task_id=TASK, round=1, layout=Layout(names=("weight", "bias"), shapes=((2, 3), (2,))), base=_base(), next=_base(),
        updates=(BundledUpdate(account=KEY.address, stake=5, weight=1 << 32, selected=True, root=update.root,
                               signature=update.signature, wire=update.wire),),
        direction=update.blocks, previous=(leaf,), leaves=(leaf,), price=1, length=1,
    )  # fmt: skip


def _header() -> Header:
    return Header(
        task_id=TASK, round=1, previous=bytes(32), base_model=b"b" * 32, next_model=b"n" * 32, validation=b"v" * 32,
        direction_root=b"d" * 32, tree_root=b"t" * 32, leaf_count=1, enrolment=b"e" * 32, cumulative=0, price=1, bundle=b"h" * 32,
    )  # fmt: skip


def _node_key(folder: Path) -> bytes:
    path = folder / "some_node_key"
    create_node_key(path)
    return path.read_bytes()


def _receipts() -> bytes:
    told = Receipt(task_id=TASK, round=1, client=KEY.address, update_root=b"r" * 32)
    entry = {"update_root": told.update_root.hex(), "receipt": sign(told, domain=DOMAIN, account=KEY).hex()}
    return json.dumps({"1": entry}).encode()


def _read_receipts(path: Path) -> None:
    read_receipts(path, account=KEY.address, task_id=TASK, domain=DOMAIN, coordinators=[KEY.address])


def _seen() -> bytes:
    update = {
        "round": 1,
        "client": KEY.address,
        "base_model": "00" * 32,
        "update_root": "11" * 32,
        "signature": "22" * 65,
    }
    return json.dumps([update]).encode()


def _question(update: AcceptedUpdate) -> Question:
    enrolled = {KEY.address: SimpleNamespace(stake=update.stake, weighs_in=lambda number: True)}
    return Question(task_id=TASK, round=1, base_model=model_hash(_base()), size=SIZE, enrolled=enrolled, domain=DOMAIN)


def _journal(folder: Path, update: AcceptedUpdate) -> bytes:
    refusal = Refusal(node_id=3, account="", reason="the node failed")
    Journal(folder / "coordinator").keep_collected(1, [update], [refusal])
    return (folder / "coordinator" / "journal" / "round-0001" / "collected.json").read_bytes()


def _read_journal(folder: Path, data: bytes, update: AcceptedUpdate) -> None:
    kept = folder / "coordinator" / "journal" / "round-0001"
    kept.mkdir(parents=True, exist_ok=True)
    # With its seal made good half of the time: what is behind it is looked at too.
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        if len(data) % 2:
            values = {key: value for key, value in json.loads(data).items() if key != "sha256"}
            data = json.dumps(seal(values)).encode()
    (kept / "collected.json").write_bytes(data)
    (kept / f"{KEY.address}.blocks").write_bytes(update.wire)
    Journal(folder / "coordinator").collected(1, _question(update))
    _drop_set_aside(folder / "coordinator" / "journal")


def _ledger(folder: Path, update: AcceptedUpdate) -> bytes:
    signed = SignedUpdate(
        account=update.account, round=1, base_model=b"b" * 32, blocks=update.wire, signature=update.signature
    )
    FolderLedger(folder, task_id=TASK).keep(signed)
    return (folder / "signed" / TASK.hex() / "last-update").read_bytes()


def _read_ledger(folder: Path, data: bytes) -> None:
    (folder / "signed" / TASK.hex() / "last-update").write_bytes(data)
    FolderLedger(folder, task_id=TASK).last()


def _read_kept_receipts(folder: Path, data: bytes) -> None:
    own = folder / "signed" / TASK.hex()
    (own / "receipts.json").write_bytes(data)
    FolderLedger(folder, task_id=TASK).receipts()
    _drop_set_aside(own)


def _drop_set_aside(folder: Path) -> None:
    for path in folder.rglob("*.damaged-*"):
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
        elif path.exists():
            path.unlink()
