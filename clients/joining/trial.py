"""The child of `clients.joining.preview`: builds a task's model and trains one round of it on the owner's rows.

Reads an npz with the spec and, where there are any, features and labels; writes a line of JSON. A refusal goes to stderr, in
one line.
"""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from clients.joining.cost import check_memory, least_memory, measure_round
from clients.trainer import train
from clients.workbench import Workbench
from fl.codec import BLOCK_BYTES, BLOCK_VALUES, model_hash
from fl.codec.narrow import NARROW_BYTES
from fl.errors import FairshareError
from fl.scoring.direction import direction
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset
from fl.task.doubts import doubts
from fl.task.model_vector import vector_of
from fl.task.preflight import check_model
from fl.task.row_gradients import check_rows
from fl.task.spec import TaskSpec, rows_of_dataset
from fl.task.trust import Trust

_HELD_OUT = 5  # every fifth row
_FEWEST = 10  # rows of which some can be held out
_FEWEST_HELD, _MOST_HELD = 16, 2000  # rows that a trial is judged on, as many as its time allows
_PASSES = 5  # over the held-out rows: a gradient a node, and two evaluations
_TRIAL_S = 3.0  # that the training may take; a round that takes longer is tried by a part of its steps
_FIRST_STEPS = 2  # that are timed to know how many fit


def _main() -> None:
    told = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    spec = TaskSpec.from_json(str(told["spec"]), trust=Trust.of(sys.argv[1]))
    torch.set_num_threads(int(sys.argv[2]))
    check_memory(least_memory(spec))  # before anything is built
    model = spec.build_model()
    base, trial, cost = vector_of(model), None, None
    doubted: list[str] = []
    if "features" in told:
        rows = Dataset(features=told["features"], labels=told["labels"])
        check_model(model, spec.build_loss(), rows_of_dataset(rows), batch_size=spec.batch_size)
        if spec.private.noise == "rows":
            check_rows(model, spec.build_loss(), rows_of_dataset(rows))
        doubted = doubts(model, spec.build_loss(), rows_of_dataset(rows))
        del model
        cost = asdict(measure_round(spec, rows))
        trial = try_round(spec, rows, base=base)
    print(
        json.dumps(
            {
                "parameters": len(base),
                "update_bytes": -(-len(base) // BLOCK_VALUES) * (NARROW_BYTES if spec.block_bits == 8 else BLOCK_BYTES),
                "base_model": model_hash(base).hex(),
                "steps": spec.steps,
                "batch_size": spec.batch_size,
                "strategy": spec.strategy,
                "doubts": doubted,
                "trial": trial,
                "cost": cost,
            }
        )
    )


def try_round(spec: TaskSpec, rows: Dataset, *, base: np.ndarray) -> dict[str, Any]:
    """Train one round from `base` on four fifths of the rows, and score it on the rest; the values of a `Trial`.

    The score is what the task's rule gives an only client: ⟨update, direction⟩, with the direction taken on the held-out
    rows along the update's own path.

    Args:
        spec: Of the task.
        rows: Of the shard.
        base: The model to start from, shape (P,).
    """
    inside, outside = _parted(len(rows))
    bench = Workbench(spec)

    def run(steps: int) -> tuple[np.ndarray, float]:
        started = time.perf_counter()
        made, _ = train(
            bench.tools(),
            base,
            features=rows.features[inside],
            labels=rows.labels[inside],
            spec=replace(spec, steps=steps),
            seed=0,
        )
        return made, (time.perf_counter() - started) / steps

    run(1)  # the first step of a process loads what the others find there
    _, step_s = run(min(_FIRST_STEPS, spec.steps))
    steps = max(1, min(spec.steps, int(_TRIAL_S / step_s)))
    made, step_s = run(steps)
    found = {"trained": len(inside), "held_out": len(outside), "steps": steps, "round_s": step_s * spec.steps}
    if not len(outside):
        return found
    outside = outside[: max(_FEWEST_HELD, min(_MOST_HELD, int(_TRIAL_S / step_s * spec.batch_size / _PASSES)))]
    found["held_out"] = len(outside)
    held = Dataset(features=rows.features[outside], labels=rows.labels[outside])
    game = ValidationGame(spec.build_model(), loss=spec.build_loss(), rows=rows_of_dataset(held))
    game.measure_statistics(base)
    update = (made - base).astype(np.float64)
    if (length := float(np.linalg.norm(update))) > (cap := float(spec.norm_cap)):
        update *= cap / length
    before, after = game.evaluate(base), game.evaluate((base + update).astype(np.float32))
    return found | {
        "score": float(update @ direction(game, base=base, step=update, nodes=spec.quadrature)),
        "loss_before": before.loss,
        "loss_after": after.loss,
        "accuracy_before": before.accuracy,
        "accuracy_after": after.accuracy,
    }


def _parted(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows that are trained on, and of those that are held out; the same ones every time."""
    order = np.random.default_rng(0).permutation(count)
    held = 0 if count < _FEWEST else count // _HELD_OUT
    return np.sort(order[held:]), order[:held]


if __name__ == "__main__":
    try:
        _main()
    except FairshareError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
