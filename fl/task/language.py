"""Language models by transformers, with adapters by peft: the extra `fairshare[llm]`.

The base stays where it is: drawn from the task's seed, or read from this machine's own disk; the task's spec names it by its
hash. Only adapters travel (`task.trainable=adapters`).
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fl.errors import ConfigError
from fl.task.bases import drawn, extra, first_line, found, load_classes, quiet
from fl.task.data.labelled_text import PADDING

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Of peft's LoraConfig; others read files, import modules by name, need more than a base, or train what is no adapter (bias).
_LORA = (
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "modules_to_save", "use_rslora", "use_dora",
    "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "fan_in_fan_out",
)  # fmt: skip
_BEGUN = (True, False, "gaussian", "orthogonal")  # init_lora_weights that need no data


class LanguageModel(nn.Module):
    """What the models of this module share; take one of them.

    Args:
        config: Settings of a transformers architecture, with its `model_type`, for a base that is drawn from the seed.
        base: Or the name of a base on this machine: a folder in $FAIRSHARE_BASES, or a model of the local hub cache.
        lora: Settings of peft's LoraConfig, such as r, lora_alpha and target_modules; without them the whole base is trained.
        dtype: Of the base, float32 or bfloat16; adapters are float32.
        checkpointing: Recompute activations in the backward pass, which takes time and saves memory.
        head: Settings of the head, as the architecture's config calls them.
    Raises: ConfigError for settings that make no model, a base that is not here, or a machine without the extra.
    """

    kind: ClassVar[str]  # of transformers
    task_type: ClassVar[str]  # as peft calls it
    read_from: ClassVar[str] = "base"  # the argument that names what is read from this machine's disk
    heads: ClassVar[tuple[str, ...]] = ()  # layers that a base may lack, by a part of their names

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        base: str | None = None,
        lora: Mapping[str, Any] | None = None,
        dtype: str = "float32",
        checkpointing: bool = False,
        head: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (config is None) == (base is None):
            raise ConfigError("a language model has a config or a base; set one of model.arguments.config and base")
        if dtype not in _DTYPES:
            raise ConfigError(f"model.arguments.dtype is {dtype!r}; set {' or '.join(_DTYPES)}")
        model: Any = (
            drawn(config or {}, kind=self.kind, settings=head or {})
            if base is None
            else found(base, kind=self.kind, settings=head or {}, head=self.heads, dtype=_DTYPES[dtype])
        )
        model = model.to(_DTYPES[dtype])
        model.config.use_cache = False  # which is for writing, a token at a time
        if checkpointing:
            with quiet(extra("transformers")):
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
                model.enable_input_require_grads()
        self._words: int = model.get_input_embeddings().num_embeddings
        self._longest: int | None = getattr(model.config, "max_position_embeddings", None)
        self.model = model if lora is None else _adapted(model, lora, task_type=self.task_type)

    @classmethod
    def load_libraries(cls, arguments: Mapping[str, Any]) -> None:
        """Import what a model of these arguments is made of. Raises: ConfigError where the extra is not installed."""
        extra("transformers")  # which peft needs too, and would be blamed for
        if arguments.get("lora") is not None:
            extra("peft")
        load_classes(arguments.get("config"), arguments.get("base"), kind=cls.kind)
        _made_once()

    def logits(self, tokens: Tensor, **further: Any) -> Tensor:
        """What the model gives for tokens of shape (n, t). Raises: ConfigError for more or other tokens than the base takes."""
        if self._longest is not None and tokens.shape[-1] > self._longest:
            raise ConfigError(
                f"the base takes {self._longest} tokens at once and a row has {tokens.shape[-1]}; set data.context to {self._longest} or less"
            )
        try:
            return self.model(input_ids=tokens, **further).logits
        except IndexError as error:
            raise ConfigError(
                f"the text has token {int(tokens.max())} and the base knows {self._words}, 0 to {self._words - 1}; set data.tokens to the "
                "name of the base, so that its own tokeniser makes them, or take a base with a larger vocabulary"
            ) from error


class CausalLM(LanguageModel):
    """A causal language model: tokens of shape (n, t) to logits of the next one at each place, (n, t, words).

    Its arguments are those of `LanguageModel`.
    """

    kind = "AutoModelForCausalLM"
    task_type = "CAUSAL_LM"

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if torch.get_default_device().type != "meta":
            self._check_causal()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at each place."""
        return self.logits(tokens)

    def reference(self, tokens: Tensor) -> Tensor:
        """The same of the base alone, without its adapters. Raises: ConfigError where there are none."""
        layers = [layer for layer in self.model.modules() if hasattr(layer, "_disable_adapters")]
        if not layers:
            raise ConfigError(
                "the loss compares a model with its base, and this one has no adapters; set model.arguments.lora"
            )
        # peft's own disable_adapter() also says anew which parameters are trained.
        for layer in layers:
            layer._disable_adapters = True
        try:
            with torch.no_grad():
                return self.forward(tokens)
        finally:
            for layer in layers:
                layer._disable_adapters = False

    def _check_causal(self) -> None:
        """Refuse a model that sees the token which it is to tell: an encoder reads in both directions, and learns nothing."""
        training = self.training
        self.eval()
        with torch.no_grad():
            first, second = self(torch.tensor([[0, 0], [0, self._words - 1]]))[:, 0].float()
        self.train(training)
        near = 0.02 if next(self.model.parameters()).dtype is torch.bfloat16 else 1e-4
        if float((first - second).abs().max()) > near * float(first.abs().max().clamp(min=1e-6)):
            raise ConfigError(
                f"{type(self.model).__name__} looks at the tokens that follow, so it cannot learn to tell the next one; take a causal "
                "model such as Llama or GPT-2"
            )


class _Classifier(LanguageModel):
    """What tells classes: tokens of shape (n, t), with −1 behind the end of a text."""

    heads = ("score", "classifier", "pre_classifier", "pooler", "classification_head", "sequence_summary")

    def __init__(self, *, num_classes: int, **arguments: Any) -> None:
        super().__init__(head={"num_labels": num_classes}, **arguments)
        config: Any = self.model.config
        if config.pad_token_id is None:
            config.pad_token_id = 0  # what it reads is masked
        self._padding: int = config.pad_token_id

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of shape (n, classes), or (n, t, classes) where each token has a class."""
        held = tokens != PADDING
        return self.logits(torch.where(held, tokens, self._padding), attention_mask=held.long())


class SequenceClassifier(_Classifier):
    """Classes of whole texts: logits of shape (n, classes). Its arguments are those of `LanguageModel`."""

    kind = "AutoModelForSequenceClassification"
    task_type = "SEQ_CLS"


class TokenClassifier(_Classifier):
    """Classes of words: logits of shape (n, t, classes). Its arguments are those of `LanguageModel`."""

    kind = "AutoModelForTokenClassification"
    task_type = "TOKEN_CLS"


@cache
def _made_once() -> None:
    """Make a model that nobody needs: the libraries compile patterns and tables with their first one, a million steps."""
    tiny = {
        "model_type": "llama",
        "hidden_size": 2,
        "intermediate_size": 2,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    with torch.device("meta"), suppress(ConfigError):
        CausalLM(config={**tiny, "vocab_size": 2}, lora={"r": 1, "target_modules": ["q_proj"]})


def _adapted(model: nn.Module, lora: Mapping[str, Any], *, task_type: str) -> nn.Module:
    peft = extra("peft")
    if strange := sorted(set(lora) - set(_LORA)):
        near = difflib.get_close_matches(strange[0], _LORA, n=1)
        raise ConfigError(
            f"model.arguments.lora has {strange[0]!r}; "
            + (f"did you mean {near[0]}?" if near else f"a task may set {', '.join(_LORA)}")
        )
    if (begun := lora.get("init_lora_weights", True)) not in _BEGUN:
        raise ConfigError(
            f"model.arguments.lora.init_lora_weights is {begun!r}; set {', '.join(str(each).lower() for each in _BEGUN[:2])}, "
            f"{' or '.join(map(str, _BEGUN[2:]))}"
        )
    layers = {
        name: any(weight.ndim > 1 for weight in layer.parameters(recurse=False))
        for name, layer in model.named_modules()
    }
    for setting in ("target_modules", "modules_to_save"):
        _check_layers(lora.get(setting), layers, setting=setting)
    try:
        with quiet(extra("transformers")), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what one of the two libraries says to the other
            return peft.get_peft_model(model, peft.LoraConfig(task_type=task_type, **dict(lora)))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"model.arguments.lora does not fit the base ({first_line(error)}); see peft's LoraConfig"
        ) from error


def _check_layers(wanted: object, layers: Mapping[str, bool], *, setting: str) -> None:
    """Refuse a name among others that leads nowhere, which peft passes over: fewer adapters than meant would be trained."""
    if not isinstance(wanted, list | tuple):
        return
    ends = sorted({layer.rpartition(".")[2] for layer, weighs in layers.items() if weighs} - {""})
    for name in map(str, wanted):
        if any(layer == name or layer.endswith(f".{name}") for layer in layers):
            continue
        near = difflib.get_close_matches(name, ends, n=1)
        raise ConfigError(
            f"model.arguments.lora.{setting} names {name!r}, and the base has no such layer; "
            + (f"did you mean {near[0]}? " if near else "")
            + f"it has {', '.join(ends)[:300]}"
        )
