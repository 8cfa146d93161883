"""How large a task may be: checked in a spec's plain values, before anything is built, drawn, or computed from them.

A spec is somebody else's text, and its numbers size what every client and evaluator builds: steps, rows, layers, exponents of
decimals. What lies within these bounds is work that ends; what a model comes to in values, `fl.task.model_size` counts.
Nothing here needs torch, so that a node knows it before its owner is asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from fl.errors import ConfigError
from fl.foreign.json_text import BadJson, read_json, shown
from fl.privacy.terms import PrivacyTerms
from fl.task.strategy_facts import STRATEGY_FACTS

# Value of a spec → the least and the most, and the setting by which a person sets it.
WHOLE = {
    "steps": (1, 100_000, "task.steps"),
    "batch_size": (1, 1_000_000, "task.batch_size"),
    "rows_at_once": (0, 1_000_000, "task.rows_at_once"),
    "num_classes": (1, 1_000_000, "task.num_classes"),
    "quadrature": (1, 64, "scorer.nodes"),
    "public_rounds": (0, 16, "scorer.public_rounds"),
    "public_gradients": (1, 64, "scorer.public_gradients"),
    "seed": (0, 2**63 - 1, "seed"),
}
MOST_BASE = 1 << 37  # values of a base that a machine's owner put on its disk; how much fits is seen before it is read
MOST_MODEL = 1 << 28  # values of a model: 2^20 blocks, as the scores' 128 bits allow; 1 GiB in float32
MOST_ROWS_A_ROUND = 1 << 30  # steps × rows of a step
MOST_FEATURES = 1 << 26  # values of one input
_NEEDED = ("model", "feature_shape", "num_classes")
_MOST_DIMENSIONS = 8
_LONGEST_NAME = 256  # of a class, a rule, a strategy, an import path
_LONGEST_DECIMAL = 40  # characters
BLOCK_BITS = (16, 8)  # of an update's values on the wire
_CHOICES: dict[str, tuple[object, ...]] = {
    "length": ("median", "capped"),
    "training": ("fairshare", "app", "together"),
    "optimizer": ("sgd", "adam"),
    "block_bits": BLOCK_BITS,
}
_ARGUMENTS = ("model_arguments", "scorer_arguments", "strategy_arguments")
_MOST_ARGUMENTS = 4096  # values in one of these, nested ones too
_DEEPEST_ARGUMENT = 4
_LONGEST_TEXT = 1000
_LONGEST_PATTERNS = 1 << 16  # characters of what travels: the names of a large model's layers
_LARGEST_ARGUMENT = 2**31
_MOST_WORKERS = 64  # threads of a rule
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def read_spec(text: str) -> dict[str, Any]:
    """The values of a spec's text, within bounds; what it leaves out is left out here too.

    Raises: ConfigError for text that is not a spec, or a value that no task may have.
    """
    try:
        raw = read_json(text)
    except BadJson as error:
        raise ConfigError(
            f"the task spec is not JSON that can be used ({error.problem}); fetch it again from the coordinator"
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"the task spec is a {type(raw).__name__}; fetch it again from the coordinator")
    if lacks := [name for name in _NEEDED if name not in raw]:
        raise ConfigError(f"the task spec cannot be read (it has no {lacks[0]}); fetch it again from the coordinator")
    check_bounds(raw)
    return raw


@lru_cache(maxsize=8)  # asked for with every message of a round, and a process has one task or few
def block_bits(text: str) -> int:
    """Bits of an update's values by a spec's text: 16 where it does not say, or cannot be read."""
    try:
        raw = read_json(text)
    except BadJson:
        return 16
    bits = raw.get("block_bits", 16) if isinstance(raw, dict) else 16
    return bits if bits in BLOCK_BITS else 16


def check_bounds(spec: Mapping[str, Any]) -> None:
    """Check types and sizes of a spec's values, those of them that are there.

    Raises: ConfigError that names the setting, what it is, and what it may be.
    """
    for name, (least, most, setting) in WHOLE.items():
        if name in spec:
            _check_whole(setting, spec[name], least=least, most=most)
    rows = spec.get("steps", 1) * spec.get("batch_size", 1)
    if rows > MOST_ROWS_A_ROUND:
        raise ConfigError(
            f"task.steps times task.batch_size is {rows}; set them so that a round trains on at most {MOST_ROWS_A_ROUND} rows"
        )
    for name in ("scorer", "strategy"):  # model and loss are for `fl.task.trust` to read
        if name in spec and not (isinstance(spec[name], str) and 0 < len(spec[name]) <= _LONGEST_NAME):
            raise ConfigError(f"{name}.name is {shown(spec[name])}; write a name of at most {_LONGEST_NAME} characters")
    for name, choices in _CHOICES.items():
        if name in spec and (spec[name] not in choices or isinstance(spec[name], float)):
            raise ConfigError(f"task.{name} is {shown(spec[name])}; set {' or '.join(map(str, choices))}")
    _check_travelling(spec)
    _check_shape(spec.get("feature_shape", ()))
    _check_names(spec.get("class_names", ()))
    _check_numbers(spec)
    if "norm_cap" in spec:
        _check_norm_cap(spec["norm_cap"])
    if spec.get("duplicate_cosine") is not None:
        _check_cosine(spec["duplicate_cosine"])
    for name in _ARGUMENTS:
        if name in spec:
            check_arguments(spec[name], setting=name.replace("_", "."))
    _check_privacy(spec)
    if spec.get("schema") is not None and not isinstance(spec["schema"], dict):
        raise ConfigError(f"task.schema is {shown(spec['schema'])}; leave it out, or give the columns of a table")


def check_arguments(arguments: object, *, setting: str) -> None:
    """Check what a model, a rule or a strategy is to be built with: plain values, few of them, and none without measure.

    Raises: ConfigError.
    """
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{setting} is {shown(arguments)}; write it as names with their values")
    for name in arguments:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ConfigError(f"{setting} has {shown(name)}, which is not a name of an argument; leave it out")
    if setting == "model.arguments" and "device" in arguments:
        raise ConfigError("model.arguments has device; leave it out, each machine has its own")
    workers = arguments.get("workers", 1)
    if not isinstance(workers, int) or not 0 < workers <= _MOST_WORKERS:
        raise ConfigError(f"{setting}.workers is {shown(workers)}; set 1 to {_MOST_WORKERS}")
    if _count(arguments, setting=setting, deep=0) > _MOST_ARGUMENTS:
        raise ConfigError(f"{setting} has more than {_MOST_ARGUMENTS} values; build the model in a class of its own")


def _count(value: object, *, setting: str, deep: int) -> int:
    if deep > _DEEPEST_ARGUMENT:
        raise ConfigError(f"{setting} has lists in each other more than {_DEEPEST_ARGUMENT} deep; write them flat")
    if isinstance(value, Mapping):
        return sum(_count(item, setting=f"{setting}.{key}", deep=deep + 1) for key, item in value.items())
    if isinstance(value, list | tuple):
        return sum(_count(item, setting=setting, deep=deep + 1) for item in value)
    fits = (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= _LARGEST_ARGUMENT)
        or (isinstance(value, float) and math.isfinite(value))
        or (isinstance(value, str) and len(value) <= _LONGEST_TEXT)
    )
    if not fits:
        raise ConfigError(
            f"{setting} is {shown(value)}; set a number of at most {_LARGEST_ARGUMENT}, or a text of at most {_LONGEST_TEXT} "
            "characters"
        )
    return 1


def _check_whole(setting: str, value: object, *, least: int, most: int) -> None:
    if type(value) is not int:
        raise ConfigError(f"{setting} is {shown(value)}; set a whole number from {least} to {most}")
    if value < least:
        raise ConfigError(f"{setting} is {value}; set {least} or more")
    if value > most:
        raise ConfigError(f"{setting} is {value}; set {most} or less")


def _check_travelling(spec: Mapping[str, Any]) -> None:
    trainable, frozen = spec.get("trainable", "all"), spec.get("frozen")
    if not isinstance(trainable, str) or not 0 < len(trainable) <= _LONGEST_PATTERNS:
        raise ConfigError(
            f"task.trainable is {shown(trainable)}; set all, adapters, or patterns of at most {_LONGEST_PATTERNS} characters"
        )
    if frozen is not None and not (isinstance(frozen, str) and re.fullmatch("[0-9a-f]{64}", frozen)):
        raise ConfigError(
            f"task.frozen is {shown(frozen)}; it is a sha256 in hex, which whoever opens the task fills in"
        )


def _check_shape(shape: object) -> None:
    sizes = list(shape) if isinstance(shape, list | tuple) else None
    if sizes is None or len(sizes) > _MOST_DIMENSIONS or not all(type(size) is int and size > 0 for size in sizes):
        raise ConfigError(
            f"task.feature_shape is {shown(shape)}; set at most {_MOST_DIMENSIONS} whole numbers of 1 or more, the shape of one "
            "input"
        )
    if math.prod(sizes) > MOST_FEATURES:
        raise ConfigError(f"task.feature_shape is {sizes}; set a shape of at most {MOST_FEATURES} values")


def _check_names(names: object) -> None:
    if not isinstance(names, list | tuple) or len(names) > WHOLE["num_classes"][1]:
        raise ConfigError(f"task.class_names is {shown(names)}; set a list with a name for each class")
    for name in names:
        if not isinstance(name, str) or len(name) > _LONGEST_NAME:
            raise ConfigError(f"task.class_names has {shown(name)}; set names of at most {_LONGEST_NAME} characters")


def _check_numbers(spec: Mapping[str, Any]) -> None:
    for name in ("learning_rate", "momentum", "tolerance"):
        if name in spec and type(spec[name]) not in (int, float):
            raise ConfigError(f"task.{name} is {shown(spec[name])}; set a number")
    # Written so that NaN is out of every range.
    if not (rate := spec.get("learning_rate", 1.0)) > 0:
        raise ConfigError(f"task.learning_rate is {rate}; set it above 0")
    if not rate <= 1e6:
        raise ConfigError(f"task.learning_rate is {rate}; set 1000000 or less")
    if not 0 <= (momentum := spec.get("momentum", 0.0)) < 1:
        raise ConfigError(f"task.momentum is {momentum}; set 0 or more and below 1")
    if not 0 < (tolerance := spec.get("tolerance", 0.5)) < 1:
        raise ConfigError(f"scorer.tolerance is {tolerance}; set it above 0 and below 1")


def _maskable() -> list[str]:
    return [name for name, facts in STRATEGY_FACTS.items() if facts.maskable]


def _check_privacy(spec: Mapping[str, Any]) -> None:
    terms = PrivacyTerms.of(spec.get("privacy"))
    if terms.noise == "client" and spec.get("length", "median") != "capped":
        raise ConfigError(
            "privacy.noise=client needs task.length=capped: its sensitivity is task.norm_cap, and a median of lengths would tell of "
            "them without noise"
        )
    if terms.noise == "rows":
        if (training := spec.get("training", "fairshare")) != "fairshare":
            raise ConfigError(
                f"privacy.noise=rows and task.training={shown(training)}: the noise is in the steps of Fairshare's own trainer, and an "
                "app's own training, or one of all clients in a batch, has none; leave one of the two out"
            )
        if lacks := [name for name in ("steps", "batch_size") if name not in spec]:
            raise ConfigError(
                f"privacy.noise=rows and no task.{lacks[0]} in the spec, by which its budget is counted; write it"
            )
        if terms.rows < spec["batch_size"]:
            raise ConfigError(
                f"task.batch_size is {spec['batch_size']} and privacy.rows {terms.rows}: every step would draw all rows of the smallest "
                f"client; set task.batch_size={max(1, terms.rows // 10)} or so, since what a step spends grows with the part that it "
                "draws"
            )
    if not terms.masked:
        return
    if (strategy := spec.get("strategy", "fedavg")) not in (maskable := _maskable()):
        raise ConfigError(
            f"strategy={shown(strategy)} needs each client's update, and privacy=masked shows their sum alone; set strategy="
            + ", ".join(maskable[:-1])
            + f" or {maskable[-1]}"
        )
    if (scorer := spec.get("scorer", "direction")) != "direction":
        raise ConfigError(
            f"scorer={shown(scorer)} needs each client's update, and privacy=masked shows inner products alone; set scorer=direction"
        )
    if spec.get("duplicate_cosine") is not None:
        raise ConfigError("scorer.duplicate_cosine compares updates, which privacy=masked hides; leave it out")


def _check_norm_cap(text: object) -> None:
    # Beyond these, 64 binary places are too few, or no update is that long.
    value = _decimal(text, setting="task.norm_cap", such_as="10 or 2.5")
    if not Decimal("1e-12") <= value <= Decimal("1e12"):
        raise ConfigError(f"task.norm_cap is {text}; set it above 0, from 1e-12 to 1e12")


def _check_cosine(text: object) -> None:
    # Compared as a fraction, whose denominator is as long as the number has places.
    value = _decimal(text, setting="scorer.duplicate_cosine", such_as="0.98")
    if not Decimal("1e-6") <= value <= 1:
        raise ConfigError(
            f"scorer.duplicate_cosine is {text}; set it above 0 and up to 1, at least 0.000001, or leave it out"
        )


def _decimal(text: object, *, setting: str, such_as: str) -> Decimal:
    try:
        if isinstance(text, str) and len(text) <= _LONGEST_DECIMAL and not (value := Decimal(text)).is_nan():
            return value
    except InvalidOperation:
        pass
    raise ConfigError(f"{setting} is {shown(text)}; write a decimal number such as {such_as}")
