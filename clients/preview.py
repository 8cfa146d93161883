"""What a task would train, found out in a process of its own, so that the node itself needs no torch before its first round.

python -m clients.preview my_package,other < spec.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from fl.chain.accounts import SECRETS
from fl.errors import ConfigError, FairshareError
from fl.plain_text import printable
from fl.task.trust import Trust

_TIMEOUT_S = 300  # the first import of torch on a slow disk


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A task's model as this machine builds it."""

    parameters: int  # values that travel
    update_bytes: int  # of one signed update
    base_model: bytes  # hash of the initial model, 32 bytes


def preview(spec: str, *, trust: str = "") -> Preview:
    """Build the spec's model in a child process.

    Raises: UntrustedCode, before anything is imported, for a model or loss that the owner did not allow; ConfigError with
    the child's own words if the model cannot be built here.
    """
    Trust.of(trust).check_text(spec)
    env = {key: value for key, value in os.environ.items() if key not in SECRETS}
    try:
        child = subprocess.run(
            # -P: the folder that the node was started in is no place to import from.
            [sys.executable, "-P", "-m", "clients.preview", trust],
            input=spec,
            capture_output=True,
            text=True,
            env=env,
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
    raw = json.loads(child.stdout)
    return Preview(
        parameters=raw["parameters"], update_bytes=raw["update_bytes"], base_model=bytes.fromhex(raw["base_model"])
    )


def _main() -> None:
    from fl.codec import Blocks, model_hash  # noqa: PLC0415 - for this process only
    from fl.task.model_vector import vector_of  # noqa: PLC0415
    from fl.task.spec import TaskSpec  # noqa: PLC0415

    spec = TaskSpec.from_json(sys.stdin.read(), trust=Trust.of(sys.argv[1]))
    spec.build_loss()
    vector = vector_of(spec.build_model())
    told = {
        "parameters": len(vector),
        "update_bytes": len(Blocks.encode(vector.astype("float64") * 0).to_bytes()),
        "base_model": model_hash(vector).hex(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    try:
        _main()
    except FairshareError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
