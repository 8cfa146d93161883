"""How a language model goes on after a few words: what its owner can read, where a perplexity is a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl.plain_text import printable
from fl.task.data.dataset import Dataset
from fl.task.data.text import IGNORED, is_text_schema, text_schema
from fl.task.data.tokens import Tokens
from fl.task.objectives import logits_of
from fl.task.spec import TaskSpec

_TOKENS = 48  # that a model adds
_MOST = 400  # characters of a text that is shown


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The first words of a row, and what makes text of tokens."""

    tokens: Tokens
    words: NDArray[np.int64]  # shape (T,), 1 or more
    context: int  # tokens that a row has, so that a model sees no more at once

    @property
    def text(self) -> str:
        """As it reads."""
        return printable(self.tokens.decode(self.words), most=_MOST)

    def continued(self, model: nn.Module) -> str:
        """What a model adds, its likeliest token each time. The model is left in evaluation mode."""
        model.eval()
        device = next(model.parameters()).device
        told = self.words.tolist()
        with torch.no_grad():
            for _ in range(_TOKENS):
                seen = torch.tensor([told[-self.context :]], device=device)
                told.append(int(logits_of(model(seen))[0, -1].argmax()))
        return printable(self.tokens.decode(np.array(told[len(self.words) :])), most=_MOST)


def opening_of(spec: TaskSpec, rows: Dataset) -> Opening | None:
    """The beginning of a task's first row of text; None for other tasks, and where noise or masks keep rows from sight.

    Of a conversation it is what comes before the assistant's first word, of other text half of the row.
    """
    shaped = rows.features.ndim == 2 and rows.labels.shape == rows.features.shape
    if spec.loss != "language_modelling" or not is_text_schema(spec.schema) or not shaped or spec.privacy is not None:
        return None
    schema = text_schema(spec.schema or {})
    count = max(1, schema.context // 2)
    if schema.form == "chat":
        count = int(np.argmax(rows.labels[0] != IGNORED)) + 1
    return Opening(
        tokens=schema.reader(), words=np.asarray(rows.features[0][:count], dtype=np.int64), context=schema.context
    )
