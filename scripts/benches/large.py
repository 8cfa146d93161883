"""A round of a large model at its coordinator and at an evaluator: how much memory each takes, and how long settling takes.

`adapters`: a frozen Llama shape of 123 million parameters, of which 0.3 million adapter weights travel. `full`: all 25 million parameters
of a smaller one travel. The real path, as in `scale`: signatures, checks, scoring, the public step, the bundle, an evaluator's
re-computation, the post on a devnet. Only the clients are not real: they answer with random blocks, signed by their own wallets. The evaluator is a
process of its own, as where it matters. Validation rows are random words.

python scripts/benches/large.py kind=adapters|full [clients=20 rows=64 words=32 rounds=1 public_rounds=6 gradients=7 threads=2]
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from apart import Apart, forget_peak, peak_mb
from eth_account import Account
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg
from measurement import report, settings
from scale import join_all, open_task, signed_reply

from fl.chain.anvil import running_anvil
from fl.chain.typed_data import Domain
from fl.codec import BLOCK_VALUES
from fl.codec.blocks import MAX_QUANTUM
from fl.coordinator.engines.virtual_grid import EmbeddedGrid
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.settings import RoundHooks
from fl.coordinator.round.strategy import PayingStrategy
from fl.coordinator.training import game_on
from fl.protocol import RECORD
from fl.task.data import Dataset
from fl.task.held_arrays import record_of
from fl.task.model_vector import sent_arrays, vector_of
from fl.task.spec import TaskSpec

_MOVE = -27  # exponent of the random blocks: values of at most 0.00025

_SHAPES: dict[str, dict[str, Any]] = {
    "adapters": {
        "config": {
            "model_type": "llama", "vocab_size": 50257, "hidden_size": 768, "intermediate_size": 2048,
            "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 256, "tie_word_embeddings": True,
        },
        "lora": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
    },
    "full": {
        "config": {
            "model_type": "llama", "vocab_size": 10000, "hidden_size": 384, "intermediate_size": 1536,
            "num_hidden_layers": 9, "num_attention_heads": 6, "max_position_embeddings": 256, "tie_word_embeddings": True,
        },
    },
}  # fmt: skip


def main() -> None:
    """One kind."""
    told = settings(
        {
            "kind": "full",
            "clients": "20",
            "rows": "64",
            "words": "32",
            "rounds": "1",
            "public_rounds": "6",
            "gradients": "7",
            "threads": str(os.cpu_count()),
        }
    )
    torch.set_num_threads(int(told["threads"]))
    public = {"public_rounds": int(told["public_rounds"]), "public_gradients": int(told["gradients"])}
    kind, clients, rounds = told["kind"], int(told["clients"]), int(told["rounds"])
    validation = words(kind, rows=int(told["rows"]), count=int(told["words"]))
    spec, model = spec_of(kind, validation, public=public)
    with tempfile.TemporaryDirectory() as folder, running_anvil(log=Path(folder) / "anvil.log") as url:
        members = Members(clients, size=len(vector_of(model)))
        task = open_task(url, spec, validation, model=model, rounds=rounds)
        join_all(url, task, members.accounts)
        members.domain = task.domain
        quorum, reports = Apart(spec=spec, validation=validation), list[RoundReport]()

        def done(told: RoundReport) -> None:
            reports.append(told)
            shutil.rmtree(told.bundle / "updates")  # a gigabyte a round, which later rounds do not ask for

        strategy = PayingStrategy(
            FedAvg(fraction_evaluate=0.0, min_available_nodes=clients),
            task=task,
            spec=spec,
            game=game_on(validation, spec=spec, model=model),
            quorum=quorum,
            bundles=Path(folder) / "bundles",
            hooks=RoundHooks(on_round=done),
        )
        before = forget_peak()
        arrays = record_of(sent_arrays(model, whole=spec.frozen is None), shared=True)
        strategy.start(members, arrays, num_rounds=rounds)
        peak = peak_mb()
    assert not reports[-1].refusals, reports[-1].refusals[0]
    parts = [
        {name: round(taken, 1) for name, taken in told.seconds.items() if name not in ("training", "signing")}
        for told in reports
    ]
    own = [sum(taken for name, taken in part.items() if name not in ("collecting", "evaluating")) for part in parts]
    report(
        f"large-{kind}",
        {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "travelling": members.size,
            "clients": clients,
            "before_mb": round(before),
            "peak_mb": round(peak),
            "beside_mb": round(peak - before),
            "evaluator_before_mb": round(max(before for before, _ in quorum.seen)),
            "evaluator_peak_mb": round(max(peak for _, peak in quorum.seen)),
            "evaluator_beside_mb": round(max(peak - before for before, peak in quorum.seen)),
            "settle_seconds": round(max(own), 1),
            "parts": parts,
        },
    )


def words(kind: str, *, rows: int, count: int) -> Dataset:
    """Validation rows of so many random words each."""
    most = _SHAPES[kind]["config"]["vocab_size"]
    drawn = np.random.default_rng(0).integers(most, size=(rows, count + 1))
    return Dataset(features=drawn[:, :-1], labels=drawn[:, 1:])


def spec_of(kind: str, validation: Dataset, *, public: dict[str, int]) -> tuple[TaskSpec, torch.nn.Module]:
    """The task, and its model."""
    spec = TaskSpec(
        model="fl.task.language:CausalLM",
        model_arguments=_SHAPES[kind],
        feature_shape=tuple(validation.features.shape[1:]),
        num_classes=_SHAPES[kind]["config"]["vocab_size"],
        loss="language_modelling",
        trainable="adapters" if kind == "adapters" else "all",
        norm_cap="1000",
        **public,
    )
    model = spec.build_model()
    return spec.with_base(model), model


class Members(EmbeddedGrid):
    """Clients that train nothing: each signs random blocks, which take no more memory than what they send."""

    def __init__(self, count: int, *, size: int) -> None:
        super().__init__({number + 2: {} for number in range(count)})
        self.accounts = [Account.from_key((number + 1).to_bytes(32, "big")) for number in range(count)]
        self.size = size
        self.domain: Domain  # of the task, once it is open

    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterator[Message]:
        for message in messages:
            number = message.metadata.dst_node_id - 2
            blocks = self._blocks(seed=100 * message.content.config_records[RECORD]["round"] + number)
            yield signed_reply(
                message, self.accounts[number], blocks, base_model=self._base(message), domain=self.domain
            )

    def _blocks(self, *, seed: int) -> bytes:
        count = -(-self.size // BLOCK_VALUES)
        wire = np.zeros(count, dtype=[("exponent", "i1"), ("quanta", ">i2", (BLOCK_VALUES,))])
        wire["exponent"] = _MOVE
        rng = np.random.default_rng(seed)
        for start in range(0, count, 4096):
            part = wire["quanta"][start : start + 4096]
            part[:] = rng.integers(-8000, 8000, size=part.shape)
        wire["quanta"][:, 0] = MAX_QUANTUM  # so that the exponent is the smallest
        wire["quanta"].reshape(count, BLOCK_VALUES)[-1, self.size - (count - 1) * BLOCK_VALUES :] = 0
        return wire.tobytes()

    def _base(self, message: Message) -> bytes:
        names = message.content.config_records[RECORD]["names"]
        arrays = message.content["arrays"]
        digest = hashlib.sha256(b"\x03" + self.size.to_bytes(8, "big"))
        for name in names:  # as `model_hash`, without a vector of them all
            digest.update(np.asarray(arrays[name].numpy(), dtype="<f4").tobytes())
        return digest.digest()


if __name__ == "__main__":
    main()
