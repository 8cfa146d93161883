"""`fl predict MODEL TABLE`: what a trained model says of rows that it has not seen."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fl.cli.arguments.key_value import named, parse
from fl.errors import ConfigError
from fl.foreign.files import expanded
from fl.plain_text import plural, printable
from fl.report.model_files import BEST, MODELS
from fl.report.onnx_model import write_onnx
from fl.task.data import Dataset, is_text_schema, read_text_shard, text_schema
from fl.task.data.file_style import SETTINGS, FileStyle
from fl.task.data.unlabelled import read_inputs
from fl.task.model_vector import statistics_of, travelling
from fl.task.objectives import perplexity
from fl.task.samples import opening_of
from fl.task.saved_model import BadModelFile, SavedModel
from fl.task.spec import TaskSpec
from fl.task.trust import Trust

KNOWN = {
    "model": "a model that `fl finish` wrote, or the folder that holds it",
    "data": "a table of the columns that the model takes, a folder or file of IDX images, or a text; a label may be missing",
    "out": "CSV file to write; the terminal by default",
    "onnx": "file to write the model and its preprocessing to as ONNX instead, for programs without Fairshare",
    **{name: line for name, line in SETTINGS.items() if name != "label_map"},
    "trust": "packages, with commas, whose models and losses a task may name on this machine",
}
_BATCH = 4096  # rows
_TEXTS = 8  # rows of text, each of many tokens


def main(arguments: Sequence[str]) -> None:
    """Write a prediction for each row, or the model as ONNX."""
    values = parse(
        named(arguments, "model", "data", command="predict"),
        known=KNOWN,
        command="predict MODEL TABLE",
        required=["model"],
    )
    if "data" not in values and "onnx" not in values:
        raise ConfigError(
            "no table is named; write fl predict MODEL TABLE, or onnx=FILE to write the model in that form"
        )
    saved = SavedModel.read(_model_file(expanded(values["model"])))
    spec = TaskSpec.from_json(saved.spec, trust=Trust.of(values.get("trust", "")))
    model = _built(saved, spec, where=values["model"])
    if "onnx" in values:
        write_onnx(model, spec, path=expanded(values["onnx"]))
        print(
            f"written to {values['onnx']}: it takes rows and gives what `fl predict` says of them; its metadata names columns and classes"
        )
    if "data" in values and is_text_schema(spec.schema) and spec.loss == "language_modelling":
        _read_on(model, spec, path=expanded(values["data"]), out=values.get("out"))
    elif "data" in values:
        inputs, notes = read_inputs(
            expanded(values["data"]), schema=spec.schema, feature_shape=spec.feature_shape, style=FileStyle.of(values)
        )
        for note in notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        _write(outputs(model, inputs), spec, out=values.get("out"))


def outputs(model: torch.nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the model gives for each row, shape (N, K)."""
    model.eval()
    with torch.no_grad():
        parts = [model(torch.from_numpy(inputs[start : start + _BATCH])) for start in range(0, len(inputs), _BATCH)]
    return torch.cat([part.reshape(len(part), -1) for part in parts]).double().numpy()


def _read_on(model: torch.nn.Module, spec: TaskSpec, *, path: Path, out: str | None) -> None:
    """What a language model makes of a text: how well it tells each row, and how it goes on after the last one."""
    shard = read_text_shard(path, schema=text_schema(spec.schema or {}))
    for note in shard.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    model.eval()
    objective, losses = spec.build_loss(), []
    with torch.no_grad():
        for start in range(0, len(shard.data), _TEXTS):
            rows = slice(start, start + _TEXTS)
            batch = (shard.data.features[rows], shard.data.labels[rows])
            losses += objective(model, tuple(torch.from_numpy(part.astype(np.int64)) for part in batch)).tolist()
    with ExitStack() as stack:
        writer = csv.writer(
            sys.stdout if out is None else stack.enter_context(expanded(out).open("w", newline="")), lineterminator="\n"
        )
        writer.writerow(["row", "perplexity"])
        writer.writerows([number, f"{perplexity(loss):.4g}"] for number, loss in enumerate(losses, start=1))
    print(
        f"perplexity {perplexity(sum(losses) / len(losses)):.4g} over {plural(len(losses), 'row')}"
        + ("" if out is None else f", each of which is in {out}"),
        file=sys.stderr,
    )
    if opening := opening_of(spec, Dataset(features=shard.data.features[-1:], labels=shard.data.labels[-1:])):
        print(f"after “{opening.text}” it goes on: “{opening.continued(model)}”", file=sys.stderr)


def _model_file(path: Path) -> Path:
    for candidate in (path, path / BEST, path / MODELS / BEST):
        if candidate.is_file():
            return candidate
    raise BadModelFile(path=str(path), problem="is not there, or has no model")


def _built(saved: SavedModel, spec: TaskSpec, *, where: str) -> torch.nn.Module:
    model = spec.build_model()
    try:
        missing, unknown = model.load_state_dict(
            {name: torch.from_numpy(array) for name, array in saved.arrays.items()}, strict=False
        )
    except RuntimeError as error:
        raise BadModelFile(path=where, problem=f"does not fit its own spec ({str(error).splitlines()[0]})") from error
    # Integer buffers, such as BatchNorm's count, do not travel and are in no file.
    floats = {name for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    if spec.frozen is not None:  # the base is this machine's own, and building it compared its hash: it is in no file
        floats &= {*travelling(model), *statistics_of(model)}
    if unknown or floats & set(missing):
        raise BadModelFile(path=where, problem="does not fit its own spec: other arrays are in it")
    return model


def _write(found: NDArray[np.float64], spec: TaskSpec, *, out: str | None) -> None:
    if out is None:
        _rows(sys.stdout, found, spec)
        return
    with expanded(out).open("w", newline="") as file:
        _rows(file, found, spec)
    print(f"{len(found)} predictions are in {out}")


def _rows(file: Any, found: NDArray[np.float64], spec: TaskSpec) -> None:
    writer = csv.writer(file, lineterminator="\n")
    table = dict(spec.schema or {})
    if (
        scale := table.get("target_scale")
    ) is not None:  # the model predicts it as so many standard deviations from its mean
        writer.writerow(["row", printable(table["target"], most=60)])
        writer.writerows(
            [number, f"{value[0] * scale[1] + scale[0]:.6g}"] for number, value in enumerate(found, start=1)
        )
        return
    names = [printable(name, most=60) for name in spec.class_names] or [str(place) for place in range(found.shape[1])]
    if spec.loss == "binary" and len(names) == 2:
        found = np.concatenate([np.zeros_like(found[:, :1]), found[:, :1]], axis=1)  # one logit against 0
    elif spec.loss in ("binary", "multi_label"):
        likely = 1 / (1 + np.exp(-found))
        writer.writerow(["row", *(f"p({name})" for name in names)])
        writer.writerows([number, *(f"{share:.4f}" for share in row)] for number, row in enumerate(likely, start=1))
        return
    elif found.shape[1] == 1 or spec.loss in ("mse", "huber"):
        writer.writerow(["row", "value"])
        writer.writerows([number, f"{value[0]:.6g}"] for number, value in enumerate(found, start=1))
        return
    shifted = np.exp(found - found.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    writer.writerow(["row", "class", *(f"p({name})" for name in names)])
    for number, row in enumerate(shares, start=1):
        writer.writerow([number, names[int(row.argmax())], *(f"{share:.4f}" for share in row)])
