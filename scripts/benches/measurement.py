"""What every bench shares: where its data is, which machine it ran on, and one JSON object as the last line."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def settings(defaults: dict[str, str]) -> dict[str, str]:
    """key=value arguments over their defaults; an unknown key ends the bench."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    values = dict(defaults)
    for argument in sys.argv[1:]:
        key, sign, value = argument.partition("=")
        if not sign or key not in defaults:
            sys.exit(
                f"bench: {argument!r} is unknown; write one of {', '.join(f'{k}={v}' for k, v in defaults.items())}"
            )
        values[key] = value
    return values


def mnist_folder(path: str) -> str:
    """The folder of MNIST's IDX files, or the end of the bench with what to do."""
    folder = (ROOT / path).resolve()
    if not list(folder.glob("*images*idx3*")):
        sys.exit(f"bench: no MNIST images in {folder}; name a folder with the IDX files: data.path=FOLDER")
    return str(folder)


def report(name: str, result: dict) -> None:
    """Print machine and date, keep the result under bench/, and print it as the last line."""
    model = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    cpu = model[0].split(":")[1].strip() if model else platform.processor()
    revision = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "revision": revision,
    }
    print(", ".join(f"{key} {value}" for key, value in about.items()), file=sys.stderr)
    out = ROOT / "bench" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"result": result, "about": about}, indent=1) + "\n")
    print(json.dumps(result))


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
