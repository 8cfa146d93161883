"""Rows made up from public models."""

import numpy as np
import pytest
import torch

from fl.errors import ConfigError
from fl.scoring.game import ValidationGame
from fl.task.behaviour.synthetic import synthetic_rows
from fl.task.model_vector import vector_of
from fl.task.models import MLP


def cosine_of(features, labels, *, model, base, step):
    """Of a step with the fall of the loss on some rows."""
    game = ValidationGame(model, loss=torch.nn.CrossEntropyLoss(), features=features, labels=labels)
    fall = -game.gradient(base)
    return fall @ step / (np.linalg.norm(fall) * np.linalg.norm(step))


def test_made_up_rows_point_where_the_model_went():
    torch.manual_seed(0)
    model, rng = MLP((6,), 3, hidden=[5]), np.random.default_rng(0)
    base = vector_of(model)
    real = rng.standard_normal((40, 6)).astype(np.float32), np.arange(40) % 3
    step = -ValidationGame(model, loss=torch.nn.CrossEntropyLoss(), features=real[0], labels=real[1]).gradient(base)
    made = synthetic_rows(
        model, loss=torch.nn.CrossEntropyLoss(), moves=[(base, step)], feature_shape=(6,), num_classes=3, count=12,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    drawn = np.random.default_rng(1).standard_normal((12, 6)).astype(np.float32), made[1]
    assert made[0].shape == (12, 6)
    assert np.isfinite(made[0]).all()
    assert set(made[1]) == {0, 1, 2}
    before, after = (cosine_of(*rows, model=model, base=base, step=step) for rows in (drawn, made))
    assert after > 0.8
    assert before < 0.5


def test_rows_without_classes_cannot_be_made_up():
    with pytest.raises(ConfigError) as caught:
        synthetic_rows(
            MLP((6,), 1), loss=torch.nn.MSELoss(), moves=[], feature_shape=(6,), num_classes=1, count=2,
            rng=np.random.default_rng(0),
        )  # fmt: skip
    assert str(caught.value) == (
        "behaviour synthetic makes up rows of classes, and the labels of this task are numbers; choose another one"
    )
