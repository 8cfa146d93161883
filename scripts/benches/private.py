"""What masking and noise cost: equality with the open round, time and bytes of a round, a thousand clients, drop-outs, accuracy.

`equal_rounds` and `unequal_rounds`: random rounds through the whole protocol (random updates, stakes, lengths, drop-outs at a random
step), of which sum and every score are compared with the same integers in the open.
`round_ratio`: a paid run of 10 clients of LeNet, masked against open: coordinator and clients, less training, after one round that is not counted.
`bytes_ratio`: what a client sends in such a round, against an open update's blocks.
`seconds_1000`, `peak_mb_1000`: the coordinator's part of a masked round of `clients` clients of LeNet's size, without chain and scoring of
the loss, and the peak of this process, which holds the clients' secrets too.
`dropout_ok`: whether 3 of 10 that fall silent at each step in turn change nobody else's score.
`dp_accuracy_loss_points`: digits, 100 clients, ε = 8 at δ = 10^−5 under masks, against the same runs without noise, on the test set, mean
over `seeds`. The clip is the length of an update that the coordinator trains on its own rows, so that it tells of no client.
`leakage`: see `leakage.py`.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from flwr.app import Message, RecordDict
from leakage import leakage
from measurement import ROOT, mnist_folder, report, settings

sys.path.insert(0, str(ROOT / "tests"))
from masked_party import DOMAIN, Party, wallet

from clients.privacy.member import Member
from clients.trainer import train
from fl.chain.typed_data import Update, sign
from fl.codec import Blocks
from fl.coordinator.config import EngineConfig, ModelConfig, PrivacyConfig, RunConfig, TaskConfig
from fl.coordinator.engines.virtual_grid import EmbeddedGrid
from fl.coordinator.round.masked import MaskedRound
from fl.coordinator.run import FederationResult, Watcher, run_federation, spec_of
from fl.foreign.json_text import read_json
from fl.privacy.masked_round import score_round, unmask
from fl.privacy.seeds import Round
from fl.privacy.steps import PeerKeys, sealed_of, sealed_to_text
from fl.privacy.terms import PrivacyTerms
from fl.privacy.transcript import Setting
from fl.protocol import MASKED, MaskedMessage
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.model_vector import vector_of

LENET = 44_426  # values
STEPS = ("share", "mask", "agree", "unmask", "tell", "open")


def main() -> None:
    """Run what is asked for, and report."""
    values = settings(
        {
            "data.path": "../shared/data/mnist10k",
            "rounds": "10000",
            "clients": "1000",
            "neighbours": "0",
            "seeds": "3",
            "parts": "equality,dropouts,round,thousand,noise,leakage",
        }
    )
    parts, result = values["parts"].split(","), {}
    if "equality" in parts:
        result |= equality(int(values["rounds"]))
    if "dropouts" in parts:
        result["dropout_ok"] = all(drops_out(step) for step in STEPS)
    if "round" in parts:
        result |= one_round(mnist_folder(values["data.path"]))
    if "thousand" in parts:
        result |= thousand(int(values["clients"]), neighbours=int(values["neighbours"]))
    if "noise" in parts:
        result |= noise(int(values["seeds"]))
    if "leakage" in parts:
        result["leakage"] = leakage(int(values["seeds"]))
    report("private", result)


def equality(rounds: int) -> dict[str, int]:
    """Random rounds, masked against open."""
    equal = unequal = 0
    for number in range(1, rounds + 1):
        rng = np.random.default_rng(number)
        clients = int(rng.integers(4, 7))
        size = int(rng.integers(1, 20))
        played = Party(
            vectors=[rng.normal(size=size) * 10.0 ** rng.uniform(-6, 2) for _ in range(clients)],
            stakes=[int(rng.integers(1, 10**6)) * 10**15 for _ in range(clients)],
            silent={str(rng.choice(STEPS[1:])): [int(rng.integers(clients))]} if rng.random() < 0.5 else {},
            terms=PrivacyTerms(masked=True, projections=4),
            median=bool(rng.random() < 0.8),
            number=number,
        ).whole()
        summed = np.array_equal(played.summed.total, sum(played.open_contributions().values()))
        found, expected = played.checked(), played.open_scores()
        same = all(found.scores[account] == expected[account] for account in expected if account not in found.faults)
        equal, unequal = (equal + 1, unequal) if summed and same else (equal, unequal + 1)
    return {"equal_rounds": equal, "unequal_rounds": unequal}


def drops_out(step: str) -> bool:
    """Three of ten fall silent at a step; whether everybody else scores as in the open."""
    rng = np.random.default_rng(7)
    gone = [1, 4, 8]
    played = Party(
        vectors=[rng.normal(size=50) * 0.1 for _ in range(10)],
        stakes=[int(rng.integers(1, 1000)) * 10**15 for _ in range(10)],
        silent={step: gone},
        number=5,
    ).whole()
    found, expected = played.checked(), played.open_scores()
    others = [account for place, account in enumerate(played.accounts) if place not in gone]
    return all(found.scores[account] == expected[account] for account in others)


def one_round(path: str) -> dict[str, float]:
    """LeNet on MNIST, 10 clients, masked against open."""
    open_run, masked = (_lenet(path, PrivacyConfig(masked=flag)) for flag in (False, True))
    spent = [sum(_less_training(round_.seconds) for round_ in run.rounds[1:]) for run in (open_run, masked)]
    return {
        "round_ratio": round(spent[1] / spent[0], 2),
        "open_seconds": round(spent[0] / (len(open_run.rounds) - 1), 3),
        "masked_seconds": round(spent[1] / (len(masked.rounds) - 1), 3),
    }


def _lenet(path: str, privacy: PrivacyConfig) -> FederationResult:
    config = RunConfig(
        task=TaskConfig(rounds=3, steps=20, learning_rate=0.05),
        model=ModelConfig(path="fl.task.models:LeNet"),
        data=DataConfig(name="idx", path=path, validation=1000, test=1000),
        partition=PartitionConfig(name="iid", clients=10),
        engine=EngineConfig(threads=1, workers="1"),  # one after the other: what two train at once cannot be taken off
        privacy=privacy,
    )
    with tempfile.TemporaryDirectory() as folder:
        return run_federation(config, folder=Path(folder), watcher=Watcher())


def _less_training(seconds: dict[str, float]) -> float:
    # Signing is within collecting; reporting is for the page, in either round.
    return (
        sum(taken for name, taken in seconds.items() if name not in ("training", "signing", "reporting"))
        - seconds["training"]
    )


class Clients(EmbeddedGrid):
    """Members of a masked round that answer as a node's app does, without one."""

    def __init__(self, setting: Setting) -> None:
        accounts = list(setting.stakes)
        super().__init__({number + 2: {} for number in range(len(accounts))})
        self.setting, self.accounts = setting, accounts
        self.of = {account: place for place, account in enumerate(accounts)}
        self.members: dict[str, Member] = {}
        self.seconds, self.sent = 0.0, 0

    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterator[Message]:
        for message in messages:
            started = time.perf_counter()
            reply = self._said(message)
            self.seconds += time.perf_counter() - started
            yield reply

    def _sign(self, account: str):
        return lambda step: sign(step, domain=DOMAIN, account=wallet(self.of[account]))

    def _said(self, message: Message) -> Message:
        account = self.accounts[message.metadata.dst_node_id - 2]
        asked = MaskedMessage.from_record(message.content.config_records[MASKED])
        body = read_json(asked.body, most=1 << 28)
        told, blob = getattr(self, f"_{asked.step}")(account, body, asked.blob)
        said = MaskedMessage.of(asked.step, 1, account=account, body=told, blob=blob)
        self.sent += len(said.body) + len(said.blob)
        return Message(RecordDict({MASKED: said.to_record()}), reply_to=message)

    def _commit(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        vector = np.random.default_rng([1, self.of[account]]).normal(size=self.setting.size) * 0.002
        self.members[account] = Member.begin(account, vector.astype(np.float32), setting=self.setting)
        said = self.members[account].commit(setting=self.setting, sign=self._sign(account))
        return {"commitment": said.to_json(), "base_model": bytes(32).hex(), "seconds_training": 0.0}, b""

    def _share(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        roster = {account: int(length) for account, length in body["roster"].items()}
        peers = [PeerKeys.from_json(raw) for raw in body["peers"]]
        self.members[account], said, sealed = self.members[account].share(
            roster, peers, setting=self.setting, sign=self._sign(account)
        )
        return {
            "sharing": said.to_json(),
            "sealed": {reader: sealed_to_text(part) for reader, part in sealed.items()},
        }, b""

    def _mask(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        sealed = {owner: sealed_of(part) for owner, part in body["sealed"].items()}
        self.members[account], words, root = self.members[account].mask(sealed, setting=self.setting)
        update = Update(
            task_id=self.setting.of.task_id, round=1, client=account, base_model=bytes(32), update_root=root
        )
        signature = sign(update, domain=DOMAIN, account=wallet(self.of[account]))
        return {"signature": signature.hex()}, words.astype("<u8").tobytes()

    def _agree(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        self.members[account], signature = self.members[account].agree(
            body["in"], setting=self.setting, sign=self._sign(account)
        )
        return {"signature": signature.hex()}, b""

    def _unmask(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        agreements = {account: bytes.fromhex(value) for account, value in body["agreements"].items()}
        own, pairs, asked = self.members[account].unmask(agreements, silent=body["silent"], setting=self.setting)
        return {
            "own": own.hex(),
            "pairs": {owner: share.hex() for owner, share in pairs.items()},
            "silent": {owner: share.hex() for owner, share in asked.items()},
        }, b""

    def _tell(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        roots = {account: bytes.fromhex(root) for account, root in body["roots"].items()}
        direction = Blocks.from_bytes(blob, size=self.setting.size)
        self.members[account], said = self.members[account].tell(
            direction, roots, setting=self.setting, sign=self._sign(account)
        )
        return {"telling": said.to_json()}, b""

    def _open(self, account: str, body: dict, blob: bytes) -> tuple[dict, bytes]:
        self.members[account], keys = self.members[account].open(body["pairs"], setting=self.setting)
        return {"keys": {peer: key.hex() for peer, key in keys.items()}}, b""


Ask = Callable[[Sequence[tuple[int, RecordDict]]], Iterator[Message]]


def lenet_round(clients: int, *, terms: PrivacyTerms) -> tuple[Setting, Clients, Ask, MaskedRound]:
    """A masked round of so many clients of LeNet, none of whom was asked yet."""
    setting = Setting(
        of=Round(task_id=bytes(32), number=1),
        domain=DOMAIN,
        terms=terms,
        stakes={wallet(place).address: 10**18 for place in range(clients)},
        size=LENET,
        cap=10 << 64,
        median=True,
    )
    grid = Clients(setting)

    def ask(questions: Sequence[tuple[int, RecordDict]]) -> Iterator[Message]:
        # One answer at a time, as they come from a network.
        for node, content in questions:
            yield from grid._answer([Message(content, node, "train")], timeout=None)

    return setting, grid, ask, MaskedRound(setting, base_model=bytes(32), ask=ask, owners=None)


def thousand(clients: int, *, neighbours: int) -> dict[str, float]:
    """The coordinator's part of a masked round of many clients."""
    setting, grid, ask, masked = lenet_round(clients, terms=PrivacyTerms(masked=True, neighbours=neighbours))
    started = time.perf_counter()
    commit = RecordDict({MASKED: MaskedMessage.of("commit", 1, body={}).to_record()})
    state = masked.collect(ask([(number + 2, commit) for number in range(clients)]))
    assert not state.void, state.void
    unmask(state.words, transcript=state.said, setting=setting)
    direction = Blocks.encode(np.random.default_rng(0).normal(size=LENET) * 0.001)
    masked.tell(direction)
    found = score_round(state.words, roots=state.roots, direction=direction, transcript=state.said, setting=setting)
    spent = time.perf_counter() - started - grid.seconds
    assert not found.faults
    return {
        "seconds_1000": round(spent, 1),
        "peak_mb_1000": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "client_seconds_1000": round(grid.seconds / clients, 3),
        "clients": clients,
        "neighbours": setting.terms.degree(clients),
        "bytes_1000": grid.sent // clients,
    } | ten()


def ten() -> dict[str, float]:
    """What one of ten clients of LeNet sends, against an open update."""
    _, grid, ask, masked = lenet_round(10, terms=PrivacyTerms(masked=True))
    commit = RecordDict({MASKED: MaskedMessage.of("commit", 1, body={}).to_record()})
    masked.collect(ask([(number + 2, commit) for number in range(10)]))
    masked.tell(Blocks.encode(np.random.default_rng(0).normal(size=LENET) * 0.001))
    plain = len(Blocks.encode(np.ones(LENET)).to_bytes())
    return {"bytes_ratio": round(grid.sent / 10 / plain, 3)}


def noise(seeds: int) -> dict[str, float | list[float]]:
    """Digits, 100 clients, 10 rounds: accuracy without noise and under ε = 8, over some seeds."""
    plain, noisy, clips, spent = [], [], [], 0.0
    for seed in range(seeds):
        clip = own_length(seed)
        clips.append(clip)
        for privacy, into in (
            (PrivacyConfig(), plain),
            (PrivacyConfig(masked=True, noise="client", epsilon=8.0, neighbours=16, clip=f"{clip:g}"), noisy),
        ):
            with tempfile.TemporaryDirectory() as folder:
                run = run_federation(_digits(seed, privacy), folder=Path(folder), watcher=Watcher())
            into.append(100 * run.tests[-1].accuracy)
            spent = max(spent, run.rounds[-1].epsilon or 0.0)
    return {
        "dp_accuracy_loss_points": round(float(np.mean(plain) - np.mean(noisy)), 2),
        "accuracy": [round(share, 2) for share in plain],
        "dp_accuracy": [round(share, 2) for share in noisy],
        "dp_clips": clips,
        "dp_epsilon": round(spent, 2),
    }


def own_length(seed: int) -> float:
    """The clip of a run: how long an update is that its coordinator trains on its own rows, to two places; no client tells of it."""
    config = _digits(seed, PrivacyConfig())
    federation = load_federation(config.data, config.partition, seed=seed)
    spec = spec_of(config, federation)
    rows, model = federation.validation, spec.build_model()
    base = vector_of(model)
    made, _ = train(model, base, features=rows.features, labels=rows.labels, spec=spec, seed=seed)
    return float(f"{np.linalg.norm(made.astype(np.float64) - base):.2g}")


def _digits(seed: int, privacy: PrivacyConfig) -> RunConfig:
    return RunConfig(
        seed=seed,
        task=TaskConfig(rounds=10),
        model=ModelConfig(path="fl.task.models:LogisticRegression"),
        data=DataConfig(),
        partition=PartitionConfig(name="iid", clients=100),
        engine=EngineConfig(threads=1),
        privacy=privacy,
    )


if __name__ == "__main__":
    main()
