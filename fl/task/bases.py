"""Base models by transformers: drawn from a config, or read from this machine's own disk, where no code of theirs ever runs.

A base is a folder of safetensors and a config. Weights as pickle, code of a base's own and kernels from a hub run code, so none of
them is read, and nobody is asked.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from fl.errors import ConfigError
from fl.foreign.files import expanded
from fl.foreign.json_text import BadJson, read_json
from fl.task.data.tokens import BASES, NAME

_ATTENTION = ("eager", "sdpa")  # any other may be a kernel that is fetched
_FETCHING = (
    "auto_map",
    "quantization_config",
    "trust_remote_code",
)  # of a config: what leads to code or other libraries
_MOST_CONFIG = 1 << 24  # bytes
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_SHOWN = 3  # names of weights in a message


def extra(name: str) -> Any:
    """A library of the extra. Raises: ConfigError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is not installed ({error}), which language models need; run pip install 'fairshare[llm]'"
        ) from error


def load_classes(config: object, base: object, *, kind: str) -> None:
    """Import what a model of a config or a base is made of; building says what is wrong with either.

    Args:
        config: Settings of an architecture, if it is drawn.
        base: Its name, if it is read.
        kind: As of `drawn`.
    """
    transformers = extra("transformers")
    with suppress(ValueError, TypeError, KeyError, AttributeError, OSError, ImportError), quiet(transformers):
        if isinstance(config, Mapping):
            told = transformers.AutoConfig.for_model(config.get("model_type"))
        else:
            told = _config_of(transformers, str(base))
        _ = getattr(transformers, kind)._model_mapping[type(told)]


def drawn(config: Mapping[str, Any], *, kind: str, settings: Mapping[str, Any]) -> nn.Module:
    """A base of the values that torch draws.

    Args:
        config: Settings of an architecture, with its model_type.
        kind: The class of transformers that has a head for the task, such as AutoModelForCausalLM.
        settings: Of the head.
    Raises: ConfigError.
    """
    transformers = extra("transformers")
    told = {"attn_implementation": "eager", **config, **settings}  # fused attention has no forward derivatives on a CPU
    for name in told:
        if name in _FETCHING or name.startswith("_"):
            raise ConfigError(f"model.arguments.config has {name}, which no task may set; leave it out")
    if told["attn_implementation"] not in _ATTENTION:
        raise ConfigError(
            f"model.arguments.config.attn_implementation is {told['attn_implementation']!r}; set {' or '.join(_ATTENTION)}: others may be fetched and run"
        )
    model_type = told.pop("model_type", None)
    try:
        with quiet(transformers):
            found = transformers.AutoConfig.for_model(model_type, **told)
            return getattr(transformers, kind).from_config(found, attn_implementation=told["attn_implementation"])
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ConfigError(
            f"model.arguments.config is not a language model's ({first_line(error)}); set model_type and what it takes"
        ) from error


def found(base: str, *, kind: str, settings: Mapping[str, Any], head: tuple[str, ...], dtype: torch.dtype) -> nn.Module:
    """A base on this machine.

    Args:
        base: The name of a folder in $FAIRSHARE_BASES, or of a model in the hub cache.
        kind: As of `drawn`.
        settings: Of the head.
        head: Layers that a base may lack, by a part of their names; they are drawn then.
        dtype: That its weights are held in, whatever is in the files: they are converted as they are read.
    Raises: ConfigError for a base that is not here, is not whole, or would need code of its own.
    """
    if not NAME.fullmatch(base):
        raise ConfigError(
            f"model.arguments.base is {base!r}; write the name of a folder in ${BASES}, or of a hub model such as org/name"
        )
    where = _place(base)
    if where == base and not isinstance(extra("huggingface_hub").try_to_load_from_cache(base, "config.json"), str):
        raise ConfigError(
            f"the base {base} is not on this machine; put its folder into ${BASES}, or fetch it into the hub cache"
        )
    transformers = extra("transformers")
    _check_files(base)
    try:
        with quiet(transformers):
            told = _config_of(transformers, base)
            for name, value in settings.items():
                setattr(told, name, value)
            if torch.get_default_device().type == "meta":  # only counted, see `fl.task.model_size`
                return getattr(transformers, kind).from_config(told, attn_implementation="eager")
            model, report = getattr(transformers, kind).from_pretrained(
                where,
                config=told,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below
            )
    except MemoryError:  # which is nothing that the files are to blame for
        raise
    except Exception as error:  # whatever the libraries make of files: OSError, SafetensorError, RuntimeError, …
        if _needs_code(base):
            raise ConfigError(
                f"the base {base} needs code of its own, which is never run; take a base of an architecture that transformers has"
            ) from error
        raise ConfigError(f"the base {base} cannot be read ({first_line(error)}); {_fix(base)}") from error
    if other := sorted(str(entry[0]) for entry in report["mismatched_keys"] if not _is_of(head, str(entry[0]))):
        raise ConfigError(
            f"the base {base} has {other[0]} of another shape than its config.json says; fetch its folder again"
        )
    if absent := sorted(name for name in report["missing_keys"] if not _is_of(head, name)):
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise ConfigError(
            f"the base {base} lacks {', '.join(absent[:_SHOWN])}{more}, which {type(model).__name__} has; fetch its folder again: what is "
            "absent would be drawn at random"
        )
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise ConfigError(f"the base {base} holds NaN or infinity in {name}; fetch its folder again")
    return model


def first_line(error: BaseException) -> str:
    """What an error of somebody else's library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without progress bars, and warnings that are for programmers."""
    told = transformers.utils.logging
    level, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    told.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.set_verbosity(level)
        if bars:
            told.enable_progress_bar()


def _is_of(head: tuple[str, ...], name: str) -> bool:
    return not set(head).isdisjoint(name.split("."))


def _place(base: str) -> str:
    """The folder of a base, or its name where the hub cache may have it."""
    folder = os.environ.get(BASES)
    own = expanded(folder) / base if folder and NAME.fullmatch(base) else None
    return str(own) if own is not None and own.is_dir() else base


def _config_of(transformers: Any, base: str) -> Any:
    # Without trust_remote_code=False it asks at the terminal whether to run what lies in the folder.
    return transformers.AutoConfig.from_pretrained(_place(base), local_files_only=True, trust_remote_code=False)


def _file(base: str, name: str) -> str | None:
    where = _place(base)
    if where != base:
        path = os.path.join(where, name)
        return path if os.path.isfile(path) else None
    cached = extra("huggingface_hub").try_to_load_from_cache(base, name)
    return cached if isinstance(cached, str) else None


def _check_files(base: str) -> None:
    """Refuse what the libraries would take for something else: an adapter, and a base that was quantised already."""
    if _file(base, "adapter_config.json"):
        raise ConfigError(
            f"{base} is an adapter and not a base; name the base that it was trained on, or merge the two (merge_and_unload) and save that"
        )
    if _told(base).get("quantization_config") is not None:
        raise ConfigError(
            f"the base {base} is quantised; take the one that it was made of, with float32, bfloat16 or float16 weights"
        )


def _told(base: str) -> Mapping[str, Any]:
    """A base's config; nothing where it cannot be read, of which the library says what is wrong."""
    with suppress(OSError, BadJson), open(_file(base, "config.json") or os.devnull, "rb") as file:
        told = read_json(file.read(_MOST_CONFIG), most=_MOST_CONFIG)
        return told if isinstance(told, Mapping) else {}
    return {}


def _needs_code(base: str) -> bool:
    return bool(_told(base).get("auto_map"))


def _fix(base: str) -> str:
    where = _place(base)
    names = sorted(os.listdir(where)) if where != base else []
    if any(name.endswith(_PICKLES) for name in names) and not any(name.endswith(".safetensors") for name in names):
        return "its weights are pickles, which can run code and are never read: save it again with save_pretrained, as safetensors"
    return "fetch its folder again, with config.json and its weights as safetensors"
