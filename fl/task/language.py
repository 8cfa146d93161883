"""Language models by transformers, with adapters by peft: the extra `fairshare[llm]`.

The base stays where it is: drawn from the task's seed, or read from this machine's own disk; the task's spec names it by its
hash. Only adapters travel (`task.trainable=adapters`).
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from fl.errors import ConfigError
from fl.foreign.files import expanded
from fl.task.data.tokens import BASES, NAME

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class CausalLM(nn.Module):
    """A causal language model: tokens of shape (n, t) to logits of shape (n, t, words).

    Args:
        config: Settings of a transformers architecture, with its `model_type`, for a base that is drawn from the seed.
        base: Or the name of a base on this machine: a folder in $FAIRSHARE_BASES, or a model of the local hub cache.
        lora: Settings of peft's LoraConfig, such as r, lora_alpha and target_modules; without them the whole base is trained.
        dtype: Of the base, float32 or bfloat16; adapters are float32.
        checkpointing: Recompute activations in the backward pass, which takes time and saves memory.
    Raises: ConfigError for settings that make no model, a base that is not here, or a machine without the extra.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        base: str | None = None,
        lora: Mapping[str, Any] | None = None,
        dtype: str = "float32",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if (config is None) == (base is None):
            raise ConfigError("a language model has a config or a base; set one of model.arguments.config and base")
        if dtype not in _DTYPES:
            raise ConfigError(f"model.arguments.dtype is {dtype!r}; set {' or '.join(_DTYPES)}")
        transformers = _extra("transformers")
        model: Any = _drawn(transformers, config or {}) if base is None else _found(transformers, base)
        model = model.to(_DTYPES[dtype])
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
        self.model = model if lora is None else _adapted(model, lora)

    @staticmethod
    def load_libraries(arguments: Mapping[str, Any]) -> None:
        """Import what a model of these arguments is made of. Raises: ConfigError where the extra is not installed."""
        transformers = _extra("transformers")
        if arguments.get("lora") is not None:
            _extra("peft")
        config, base = arguments.get("config"), arguments.get("base")
        with suppress(ValueError, TypeError, KeyError, AttributeError, OSError):  # building says what is wrong
            if isinstance(config, Mapping):
                told = transformers.AutoConfig.for_model(config.get("model_type"))
            else:
                told = transformers.AutoConfig.from_pretrained(_place(str(base)), local_files_only=True)
            _ = transformers.AutoModelForCausalLM._model_mapping[type(told)]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at each place."""
        return self.model(input_ids=tokens, use_cache=False).logits


def _drawn(transformers: Any, config: Mapping[str, Any]) -> nn.Module:
    settings = {"attn_implementation": "eager", **config}  # fused attention has no forward derivatives on a CPU
    kind = settings.pop("model_type", None)
    try:
        told = transformers.AutoConfig.for_model(kind, **settings)
        return transformers.AutoModelForCausalLM.from_config(told, attn_implementation=settings["attn_implementation"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"model.arguments.config is not a language model's ({_first_line(error)}); set model_type and what it takes"
        ) from error


def _found(transformers: Any, base: str) -> nn.Module:
    if not NAME.fullmatch(base):
        raise ConfigError(
            f"model.arguments.base is {base!r}; write the name of a folder in ${BASES}, or of a hub model such as org/name"
        )
    where = _place(base)
    if where == base and not isinstance(_extra("huggingface_hub").try_to_load_from_cache(base, "config.json"), str):
        raise ConfigError(
            f"the base {base} is not on this machine; put its folder into ${BASES}, or fetch it into the hub cache"
        )
    try:
        if torch.get_default_device().type == "meta":  # only counted, see `fl.task.model_size`
            told = transformers.AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False)
            return transformers.AutoModelForCausalLM.from_config(told, attn_implementation="eager")
        return transformers.AutoModelForCausalLM.from_pretrained(
            where,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the base {base} cannot be read ({_first_line(error)}); fetch its folder again, with its weights as safetensors"
        ) from error


def _place(base: str) -> str:
    """The folder of a base, or its name where the hub cache may have it."""
    folder = os.environ.get(BASES)
    own = expanded(folder) / base if folder and NAME.fullmatch(base) else None
    return str(own) if own is not None and own.is_dir() else base


def _adapted(model: nn.Module, lora: Mapping[str, Any]) -> nn.Module:
    peft = _extra("peft")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what one of the two libraries says to the other
            return peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **dict(lora)))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"model.arguments.lora does not fit the base ({_first_line(error)}); see peft's LoraConfig"
        ) from error


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} is not installed ({error}), which language models need; run pip install 'fairshare[llm]'"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
