"""`key=value` arguments → a checked configuration, with the nearest real name where one is unknown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fl.cli.arguments.literal import literal
from fl.coordinator.config import RunConfig
from fl.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[2]
# A wheel carries configs/ inside the package; a checkout has it beside the package.
CONFIGS = next(
    folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if (folder / "run.yaml").exists()
)
# What a model, a strategy or a scorer takes depends on which one it is.
_KINDS = {"Integer": "a whole number", "Float": "a number, with a point before decimals", "bool": "true or false"}
_LONGEST_KEY = 200  # characters: Hydra looks for a folder of that name, and a longer one is none to the system
_FREE = ("model.arguments.", "strategy.arguments.", "scorer.arguments.")


def register_schema() -> None:
    """Make the dataclasses the schema that configs/run.yaml starts from."""
    ConfigStore.instance().store(group="schema", name="run", node=RunConfig, package="_global_")


def groups() -> dict[str, dict[str, str]]:
    """Configuration groups: group → choice → its one-line description."""
    found: dict[str, dict[str, str]] = {}
    order = [
        next(iter(default))
        for default in yaml.safe_load((CONFIGS / "run.yaml").read_text())["defaults"]
        if isinstance(default, dict)
    ]
    for group in order:
        found[group] = {
            path.stem: path.read_text().splitlines()[0].removeprefix("# ")
            for path in sorted((CONFIGS / group).glob("*.yaml"))
        }
    return found


def spell_out(arguments: Sequence[str]) -> list[str]:
    """Turn `chain=URL` into the choice that it stands for, and quote what is to be taken literally."""
    spelled = []
    for argument in arguments:
        if argument.startswith("chain=") and "://" in argument:
            spelled += ["chain=rpc", "chain.url=" + argument.removeprefix("chain=")]
        else:
            spelled.append(argument)
    return literal(spelled)


def check(overrides: Sequence[str]) -> RunConfig:
    """Compose and check a run's configuration; of a sweep, its first point.

    Raises: ConfigError that names an unknown key's nearest real one, or what is wrong with a value.
    """
    parsed = _parsed(overrides)
    points = [_first_point(override) for override in parsed]
    _check_names(parsed)
    try:
        return to_config(_compose([override for override in points if not override.startswith("hydra.")]))
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_told(error, overrides)) from error


def check_sweeps(overrides: Sequence[str]) -> None:
    """Raises: ConfigError for several values of a setting, where nobody asked for a run with each of them."""
    for parsed in OverridesParser.create().parse_overrides(list(overrides)):
        if parsed.is_sweep_override():
            raise ConfigError(
                f"{parsed.input_line} names several values; write one, with a point before decimals, or add -m for a run with each of them"
            )


def one_point(overrides: Sequence[str], *, command: str) -> None:
    """Raises: ConfigError if the overrides sweep, for a command that does one thing."""
    for override in overrides:
        if _parsed([override])[0].is_sweep_override():
            raise ConfigError(f"{override} names several values, fl {command} takes one; only `fl run -m` sweeps")


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    # Python's own for a number of thousands of digits, or for lists in each other without end.
    except (OverrideParseException, HydraException, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the arguments: {_first_line(error)}; write them as key=value") from error


def to_config(raw: DictConfig) -> RunConfig:
    """Build the dataclasses, so that their checks run; Hydra ends here. Raises: ConfigError."""
    try:
        config = OmegaConf.to_object(raw)
    except OmegaConfBaseException as error:
        # OmegaConf wraps what a __post_init__ raises.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__ or cause.__context__
        raise ConfigError(str(cause) if cause else _first_line(error)) from error
    if not isinstance(config, RunConfig):
        raise ConfigError("the configuration is not that of a run")
    return config


def defaults() -> dict[str, Any]:
    """Every key of a run with its default value, dotted."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else key, value)
        else:
            flat[prefix] = node

    walk("", OmegaConf.to_container(_compose([])))
    return flat


def _compose(overrides: list[str]) -> DictConfig:
    register_schema()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
        return compose(config_name="run", overrides=overrides)


def _check_names(parsed: Sequence[Override]) -> None:
    choices, flat = groups(), defaults()
    known = [*choices, *flat]
    for override in parsed:
        key = override.key_or_group
        if len(key) > _LONGEST_KEY:
            raise ConfigError(f"{key[:40]}… is not a setting; `fl run --help` lists them all")
        # +key=value too: Hydra would add an unknown key, and nobody would read it.
        if key.startswith("hydra.") or override.is_delete():
            continue
        if key in choices:
            for value in override.sweep_string_iterator() if override.is_sweep_override() else [str(override.value())]:
                if value not in choices[key]:
                    raise ConfigError(
                        f"{key}={value} is unknown{_nearest(value, choices[key], prefix=f'{key}=')}; there are "
                        + ", ".join(f"{key}={choice}" for choice in choices[key])
                    )
        # Arguments of a model or strategy depend on its choice, so composing checks them.
        elif not any(name == key or name.startswith(f"{key}.") for name in flat) and not key.startswith(_FREE):
            raise ConfigError(f"{key} is not a setting{_nearest(key, known)}; `fl run --help` lists them all")


def _nearest(seen: str, known: Sequence[str] | dict[str, str], *, prefix: str = "") -> str:
    found = difflib.get_close_matches(seen, list(known), n=1, cutoff=0.5)
    if not found and not prefix:
        # task.round is near task.rounds; plain `steps` is nearest to the key that ends with it.
        found = [name for name in known if name.rsplit(".", 1)[-1] == seen][:1] or difflib.get_close_matches(
            seen, [name.rsplit(".", 1)[-1] for name in known], n=1, cutoff=0.6
        )
        found = [name for name in known if name.rsplit(".", 1)[-1] == found[0]][:1] if found else []
    return f", the nearest is {prefix}{found[0]}" if found else ""


def _first_point(override: Override) -> str:
    if not override.is_sweep_override():
        return override.input_line or ""
    sign = "+" if override.is_add() else "++" if override.is_force_add() else ""
    return f"{sign}{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"


def _told(error: Exception, overrides: Sequence[str]) -> str:
    cause = error.__cause__ or error
    line = _first_line(cause)
    unread = re.match(r"Value '(.*)' (?:of type '.*' could not be converted to|is not a valid) (\w+)", line)
    where = re.search(r"full_key: (\S+)", str(cause))
    if unread and where:
        key = re.sub(r"\[\d+\]$", "", where[1])
        given = next(
            (override for override in overrides if override.split("=")[0].lstrip("+") == key), f"{key}={unread[1]}"
        )
        return f"{given} is not what {key} takes; write {_KINDS.get(unread[2], 'a value of its kind')}"
    found = re.match(r"Key '(.+)' is not in struct", line)
    written = next(
        (override for override in overrides if found and override.startswith(_FREE) and found[1] in override), None
    )
    if written is None:
        return line
    group, argument = written.partition(".")[0], written.partition("=")[0]
    return (
        f"{argument} is none of the settings in this {group}'s file; put a + before one that it does take: +{written}"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
