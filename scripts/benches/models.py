"""Adapters of a language model, ten speakers, scored and paid: what it takes, and whether the pay is right.

scripts/bench models [data.path=FOLDER rounds=6 steps=200 context=64 parts=exact,narrow,large]

`exact`: the direction's scores against exact Shapley values, median over rounds and of the sum of all rounds, by which pay goes. `narrow`: the same run with blocks of 8 bits, its perplexity against the first
run's, and bytes of an update against float32. `large`: memory of rounds of large models, from `large.py`, in processes of their own: beside a
frozen base of 123 million parameters (the larger of coordinator and evaluator), and of 25 million that all travel, with seconds of settling.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from measurement import ROOT, report, settings

from fl.bundle.format import Bundle
from fl.codec import BLOCK_VALUES, Blocks
from fl.codec.narrow import NARROW_BYTES
from fl.coordinator.config import AttackConfig, ModelConfig, RunConfig, ScorerConfig, TaskConfig
from fl.coordinator.result import FederationResult, Watcher
from fl.coordinator.round.clock import PAYING
from fl.coordinator.run import run_federation
from fl.report.summary import summarise
from fl.report.tables import round_seconds, wall_seconds
from fl.rewards import WEIGHT_ONE
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.scorer import build_scorer
from fl.task.data import DataConfig, PartitionConfig, TextSchema, load_federation, read_text_shard
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec, rows_of_dataset

HELD_OUT = 0.1  # of each speaker's text, its end, which no part of the run sees
FREE_RIDER, COMPARED = 9, 6


def main() -> None:
    """Run it and print the figures."""
    told = settings(
        {
            "data.path": "../shared/data/shakespeare",
            "rounds": "6",
            "steps": "200",
            "context": "64",
            "parts": "exact,narrow,large",
        }
    )
    parts = told["parts"].split(",")
    source = (ROOT / told["data.path"]).resolve()
    speakers = sorted(source.glob("*.txt"))
    if len(speakers) != 10:
        sys.exit(f"bench: {source} holds {len(speakers)} texts, ten are expected; name a folder with data.path=FOLDER")
    context = int(told["context"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held = part(speakers, folder=folder, schema=TextSchema(context=context))
        config = configured(folder / "texts", rounds=int(told["rounds"]), steps=int(told["steps"]), context=context)
        (folder / "run").mkdir()
        started = time.perf_counter()
        result = run_federation(config, folder=folder / "run", watcher=Watcher())
        seconds = time.perf_counter() - started
        bundles = [Bundle.read(round_.bundle)[0] for round_ in result.rounds]
        steps = round_seconds(summarise(config, result, folder=folder / "run"))
        report(
            "models",
            {
                "lora_seconds": round(seconds, 1),
                "perplexity_before": round(result.initial.perplexity, 2),
                "perplexity_after": round(result.tests[-1].perplexity, 2),
                "speakers_improved": improved(result.spec, held, first=bundles[0].base, last=bundles[-1].next),
                "free_rider": result.clients[FREE_RIDER].earned / 1e18,
                **(exact(config, result, bundles) if "exact" in parts else {}),
                **(narrow(config, result, folder=folder / "narrow") if "narrow" in parts else {}),
                **(large() if "large" in parts else {}),
                "paid_fraction": round(sum(steps.get(name, 0.0) for name in PAYING) / wall_seconds(steps), 3),
                "adapter_values": result.parameters,
                "step_seconds": {name: round(spent, 1) for name, spent in steps.items()},
            },
        )


def part(speakers: list[Path], *, folder: Path, schema: TextSchema) -> dict[str, Any]:
    """Write each text but its end; returns the ends by speaker, as data sets."""
    held = {}
    for path in speakers:
        text = path.read_bytes()
        cut = int(len(text) * (1 - HELD_OUT))
        # Not within a letter of several bytes: half of one is no text.
        while text[cut : cut + 1] and text[cut] & 0xC0 == 0x80:
            cut += 1
        for place, content in (("texts", text[:cut]), ("held", text[cut:])):
            (folder / place).mkdir(exist_ok=True)
            (folder / place / path.name).write_bytes(content)
        held[path.stem] = read_text_shard(folder / "held" / path.name, schema=schema).data
    return held


def configured(texts: Path, *, rounds: int, steps: int, context: int) -> RunConfig:
    """As `fl run task=lora` has it, with one client that does nothing."""
    task = yaml.safe_load((ROOT / "configs/task/lora.yaml").read_text())
    model = yaml.safe_load((ROOT / "configs/model/llama.yaml").read_text())
    del task["defaults"]
    return RunConfig(
        task=TaskConfig(**{**task, "rounds": rounds, "steps": steps}),
        model=ModelConfig(**model),
        data=DataConfig(name="text", path=str(texts), context=context, validation=0.05, test=0.1),
        partition=PartitionConfig(name="natural", clients=0),
        scorer=ScorerConfig(read_clients=0),
        attack=AttackConfig(behaviours=[f"{FREE_RIDER}:free_ride"]),
    )


def narrow(config: RunConfig, wide: FederationResult, *, folder: Path) -> dict[str, float]:
    """The same run with blocks of 8 bits: the same seeds, other bytes."""
    folder.mkdir()
    result = run_federation(replace(config, task=replace(config.task, block_bits=8)), folder=folder, watcher=Watcher())
    size = result.parameters
    return {
        "bytes_ratio_8bit": round(-(-size // BLOCK_VALUES) * NARROW_BYTES / (4 * size), 4),
        "perplexity_ratio_8bit": round(result.tests[-1].perplexity / wide.tests[-1].perplexity, 4),
    }


def large() -> dict[str, float]:
    """What `large.py` measures."""
    found = {}
    for kind in ("adapters", "full"):
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("large.py")), f"kind={kind}"],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        found[kind] = json.loads(done.stdout.splitlines()[-1])
    base, full = found["adapters"], found["full"]
    return {
        "peak_mb_125m": max(base["beside_mb"], base["evaluator_beside_mb"]),
        "peak_mb_25m": max(full["peak_mb"], full["evaluator_peak_mb"]),
        "settle_seconds_25m": full["settle_seconds"],
    }


def improved(spec: TaskSpec, held: dict[str, Any], *, first: np.ndarray, last: np.ndarray) -> int:
    """Speakers whose held-out text the last model knows better than the first."""
    model, count = spec.build_model(), 0
    for data in held.values():
        game = ValidationGame(model, loss=spec.build_loss(), rows=rows_of_dataset(data))
        count += game.evaluate(last).loss < game.evaluate(first).loss
    return count


def exact(config: RunConfig, result: FederationResult, bundles: list[Bundle]) -> dict[str, float]:
    """The direction's scores against exact Shapley values of the same game, six clients, over all rounds."""
    spec = result.spec
    data = load_federation(config.data, config.partition, seed=config.seed)
    model = spec.build_model()
    assert np.array_equal(vector_of(model), bundles[0].base)
    game = ValidationGame(model, loss=spec.build_loss(), rows=rows_of_dataset(data.validation))
    errors, ranks, truths, founds = [], [], [], []
    for bundle in bundles:
        chosen = bundle.updates[:COMPARED]
        weights = np.array([update.weight / WEIGHT_ONE for update in chosen])
        inputs = RoundInputs(
            game=game,
            base=bundle.base,
            updates=BlockUpdates(blocks=[Blocks.from_bytes(update.wire, size=bundle.layout.size) for update in chosen]),
            weights=weights,
        )
        rng = np.random.default_rng(0)
        truth = build_scorer("shapley", {}).score(inputs, rng=rng).values
        found = build_scorer("direction", {"nodes": spec.quadrature, "confidence": False}).score(inputs, rng=rng).values
        truths.append(truth)
        founds.append(found)
        errors.append(float(np.linalg.norm(found - truth) / np.linalg.norm(truth)))
        ranks.append(float(np.corrcoef(found.argsort().argsort(), truth.argsort().argsort())[0, 1]))
    whole, paid = np.sum(truths, axis=0), np.sum(founds, axis=0)
    return {
        "exact_rel_l2": round(float(np.median(errors)), 4),
        "exact_rel_l2_whole": round(float(np.linalg.norm(paid - whole) / np.linalg.norm(whole)), 4),
        "exact_rank": round(float(np.median(ranks)), 3),
    }


if __name__ == "__main__":
    main()
