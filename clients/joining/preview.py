"""What a task would train, found out in a process of its own, so that the node itself needs no torch before its first round.

Reads {"spec": …, "rows": …} and writes a line of JSON; a refusal goes to stderr, in one line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

import numpy as np

from clients.joining.cost import RoundCost, check_memory, least_memory, measure_round
from fl.chain.accounts import without_secrets
from fl.errors import ConfigError, FairshareError
from fl.foreign.json_text import read_json
from fl.plain_text import printable
from fl.task.bounds import read_spec
from fl.task.data import Dataset
from fl.task.trust import Trust

_TRIED = 8  # rows
_TIMEOUT_S = 300  # the first import of torch on a slow disk


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A task's model as this machine builds it."""

    parameters: int  # values that travel
    update_bytes: int  # of one signed update
    base_model: bytes  # hash of the initial model, 32 bytes
    steps: int  # of a round
    batch_size: int  # rows of a step
    strategy: str
    cost: RoundCost | None = None  # of a round here; None without rows to measure on


def preview(spec: str, *, trust: str = "", rows: Dataset | None = None) -> Preview:
    """Build the spec's model in a child process, and try it on a few rows of the owner's.

    Raises: UntrustedCode, before anything is imported, for a model or loss that the owner did not allow; ConfigError for a spec
    beyond `fl.task.bounds`, and with the child's own words if the model cannot be built here, or is too large.
    """
    Trust.of(trust).check_names(read_spec(spec))
    try:
        child = subprocess.run(
            # -P: the folder that the node was started in is no place to import from.
            [sys.executable, "-P", "-m", "clients.joining.preview", trust],
            input=json.dumps({"spec": spec, "rows": None if rows is None else _few(rows)}),
            capture_output=True,
            text=True,
            env=without_secrets(),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"the task's model was not built within {_TIMEOUT_S} s; see whether this machine has memory left"
        ) from None
    if child.returncode:
        words = child.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ConfigError(f"the task's model cannot be built on this machine: {printable(words[0])}")
    raw = read_json(child.stdout)
    return Preview(
        parameters=raw["parameters"],
        update_bytes=raw["update_bytes"],
        base_model=bytes.fromhex(raw["base_model"]),
        steps=raw["steps"],
        batch_size=raw["batch_size"],
        strategy=raw["strategy"],
        cost=None if raw["cost"] is None else RoundCost(**raw["cost"]),
    )


def _few(rows: Dataset) -> dict[str, dict[str, object]]:
    """At most eight rows from all over a shard, as JSON."""
    places = sorted({round(place * (len(rows) - 1) / (_TRIED - 1)) for place in range(_TRIED)})
    return {
        name: {"dtype": str(values.dtype), "values": values[places].tolist()}
        for name, values in (("features", rows.features), ("labels", rows.labels))
    }


def _main() -> None:
    from fl.codec import BLOCK_BYTES, BLOCK_VALUES, model_hash  # noqa: PLC0415 - for this process only
    from fl.codec.narrow import NARROW_BYTES  # noqa: PLC0415
    from fl.task.model_vector import vector_of  # noqa: PLC0415
    from fl.task.preflight import check_model  # noqa: PLC0415
    from fl.task.spec import TaskSpec, rows_of_dataset  # noqa: PLC0415

    told = json.loads(sys.stdin.read())
    spec = TaskSpec.from_json(told["spec"], trust=Trust.of(sys.argv[1]))
    check_memory(least_memory(spec))  # before anything is built
    objective, model = spec.build_loss(), spec.build_model()
    if told["rows"] is not None:
        rows = {name: np.array(one["values"], dtype=one["dtype"]) for name, one in told["rows"].items()}
        check_model(model, objective, rows_of_dataset(Dataset(**rows)), batch_size=spec.batch_size)
    vector = vector_of(model)
    cost = None
    if told["rows"] is not None:
        del model
        cost = asdict(measure_round(spec, Dataset(**rows)))
    told = {
        "parameters": len(vector),
        "update_bytes": -(-len(vector) // BLOCK_VALUES) * (NARROW_BYTES if spec.block_bits == 8 else BLOCK_BYTES),
        "base_model": model_hash(vector).hex(),
        "steps": spec.steps,
        "batch_size": spec.batch_size,
        "strategy": spec.strategy,
        "cost": cost,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    try:
        _main()
    except FairshareError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
