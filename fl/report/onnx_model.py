"""A trained model as ONNX, for programs without Fairshare: preprocessing, model, and what it says, in one file.

Its input is the table: one column for each of the schema's, in double precision. A number or an id stands as in the file, a category as its
place among the column's levels, and NaN is not a value; all of it is told in the file's metadata. Its output is what `fl predict` writes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fl.errors import FairshareError
from fl.plain_text import printable
from fl.task.data.encode import CLIP
from fl.task.data.schema import CategoricalColumn, Column, NumericColumn, TableSchema
from fl.task.data.text import is_text_schema
from fl.task.spec import TaskSpec


class NoOnnx(FairshareError):
    """The packages that write ONNX are not installed."""

    def __str__(self) -> str:
        return "onnx is set and the packages onnx and onnxscript are not both installed; run `pip install 'fairshare[onnx]'`"


class NotExported(FairshareError):
    """PyTorch cannot write a model as ONNX."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model, self.reason = model, reason

    def __str__(self) -> str:
        return (
            f"{printable(self.model, most=100)} cannot be written as ONNX ({printable(self.reason, most=300)}); "
            "`fl predict` without onnx= uses it as it is"
        )


def write_onnx(model: torch.nn.Module, spec: TaskSpec, *, path: Path) -> None:
    """Write the file; it takes any number of rows.

    Args:
        model: With its weights.
        spec: Of its task.
        path: Of the file, whose folder is made.
    Raises: NoOnnx; NotExported.
    """
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript")):
        raise NoOnnx
    schema = None
    if spec.schema is not None and not is_text_schema(spec.schema):
        schema = TableSchema.from_json(json.dumps(dict(spec.schema)))
    whole = _Whole(model, spec, schema=schema).eval()
    example = (
        torch.zeros((2, *spec.feature_shape))
        if schema is None
        else torch.zeros((2, len(schema.columns)), dtype=torch.float64)
    )
    try:
        with _quiet():
            program = torch.onnx.export(
                whole, (example,), dynamo=True, input_names=["rows"], output_names=["predictions"],
                dynamic_shapes=({0: torch.export.Dim("rows", min=1)},), external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter's own, of many kinds, and whatever the model's code raises
        raise NotExported(model=spec.model, reason=_first_line(error)) from error
    assert program is not None  # which comes of the old exporter alone
    program.model.metadata_props.update({f"fairshare.{name}": told for name, told in _told(spec, schema).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))


class _Whole(torch.nn.Module):
    """A model between its preprocessing and its words."""

    def __init__(self, model: torch.nn.Module, spec: TaskSpec, *, schema: TableSchema | None) -> None:
        super().__init__()
        self.before = None if schema is None else _Ids() if schema.of_ids else _Encoding(schema)
        self.model, self.loss = model, spec.loss
        self.two = len(spec.class_names) == 2
        self.scale = None if schema is None else schema.target_scale

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(rows if self.before is None else self.before(rows))
        found = found.flatten(1).double()
        if self.scale is not None:
            return found[:, :1] * self.scale[1] + self.scale[0]
        if self.loss == "binary" and self.two:
            likely = torch.sigmoid(found[:, :1])  # one logit against 0
            return torch.cat([1 - likely, likely], dim=1)
        if self.loss in ("binary", "multi_label"):
            return torch.sigmoid(found)
        if found.shape[1] == 1 or self.loss in ("mse", "huber"):
            return found[:, :1]
        return torch.softmax(found, dim=1)


class _Ids(torch.nn.Module):
    """Ids of words or items, which the model takes as whole numbers."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.long()


class _Encoding(torch.nn.Module):
    """`fl.task.data.encode` over the columns' numbers: (N, C) to the features, (N, F)."""

    # Of each feature.
    place: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    level: torch.Tensor
    is_number: torch.Tensor
    is_level: torch.Tensor
    zero: torch.Tensor

    def __init__(self, schema: TableSchema) -> None:
        super().__init__()
        features = [feature for place, column in enumerate(schema.columns) for feature in _features(place, column)]
        for name in ("place", "mean", "std", "level", "is_number", "is_level", "zero"):
            self.register_buffer(
                name, torch.tensor([feature[name] for feature in features], dtype=_TYPES.get(name, torch.float64))
            )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        value = rows.index_select(1, self.place)
        absent = value.isnan() | (self.zero & (value == 0))
        scaled = ((value - self.mean) / self.std).clamp(-CLIP, CLIP)
        held = (value == self.level) & ~absent
        number = torch.where(absent, torch.zeros_like(scaled), scaled)
        return torch.where(self.is_number, number, torch.where(self.is_level, held.double(), absent.double())).float()


_TYPES = {"place": torch.int64, "is_number": torch.bool, "is_level": torch.bool, "zero": torch.bool}


def _features(place: int, column: Column) -> Iterator[dict[str, Any]]:
    """How each feature of a column comes about."""
    none = {
        "place": place,
        "mean": 0.0,
        "std": 1.0,
        "level": math.nan,
        "is_number": False,
        "is_level": False,
        "zero": False,
    }
    if isinstance(column, NumericColumn):
        none["zero"] = column.zero_is_missing
        yield {**none, "mean": column.mean, "std": column.std, "is_number": True}
    elif isinstance(column, CategoricalColumn):  # a missing zero is no level, so it has no place
        yield from ({**none, "level": float(level), "is_level": True} for level in range(len(column.levels)))
    if column.marks_missing:
        yield none


def _told(spec: TaskSpec, schema: TableSchema | None) -> Mapping[str, str]:
    """What a program needs to know to fill the rows and to read the predictions."""
    told = {"classes": json.dumps(list(spec.class_names))}
    if schema is not None:
        told["columns"] = json.dumps(
            [
                {
                    "name": column.name,
                    **({"levels": list(column.levels)} if isinstance(column, CategoricalColumn) else {}),
                }
                for column in schema.columns
            ]
        )
        told["target"] = json.dumps(schema.target)
        told["missing"] = json.dumps(list(schema.missing))
    return told


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of its own steps, on stdout, in warnings and in logs, to whoever wrote it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    told = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
