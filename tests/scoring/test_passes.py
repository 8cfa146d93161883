"""Batches that threads share: the same bits as one after the other, and only where nothing can come between."""

import numpy as np
import pytest
import torch
from torch import nn

from fl.scoring.game import ValidationGame, batch_size_for
from fl.scoring.passes import each, threads_for
from fl.task.model_vector import vector_of
from fl.task.models import MLP
from fl.task.rows import Rows


class Noisy(nn.Module):
    """Somebody's own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, x):
        return self.inner(x + torch.randn_like(x))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_batches(threads):
    assert list(each(lambda number: number * number, iter(range(7)), threads=threads)) == [n * n for n in range(7)]
    assert list(each(lambda number: number, [], threads=threads)) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_pass_raises_is_raised(threads):
    with pytest.raises(ZeroDivisionError):
        list(each(lambda number: 1 / number, [1, 1, 0, 1], threads=threads))


def test_no_more_batches_are_read_ahead_than_there_are_threads():
    read = []
    made = each(lambda number: number, (read.append(number) or number for number in range(9)), threads=2)
    assert next(made) == 0
    assert read == [0, 1]
    made.close()


def test_threads_give_the_bits_of_one(one_thread):
    rng = np.random.default_rng(0)
    game = ValidationGame(
        MLP(feature_shape=(8,), num_classes=3),
        loss=nn.CrossEntropyLoss(),
        features=rng.normal(size=(50, 8)).astype(np.float32),
        labels=rng.integers(3, size=50),
        batch_size=7,
        device="cpu",
    )
    vector, found = vector_of(game.model), []
    for threads in (1, 2, 3):
        game.__dict__["_threads"] = threads
        found.append((*game.value_and_gradient(vector), game.evaluate(vector)))
    for loss, gradient, evaluation in found[1:]:
        assert (loss, evaluation) == (found[0][0], found[0][2])
        np.testing.assert_array_equal(gradient, found[0][1])


def test_a_module_of_somebodys_own_has_one_thread_and_so_has_torch_with_threads_of_its_own(one_thread, monkeypatch):
    monkeypatch.setattr("fl.scoring.passes._cores", lambda: 4)
    known = MLP(feature_shape=(4,), num_classes=2)
    assert threads_for(known, nn.CrossEntropyLoss()) == 4
    assert threads_for(Noisy()) == threads_for(known, Noisy()) == 1
    known.gradient_checkpointing = True
    assert threads_for(known) == 1
    torch.set_num_threads(2)
    assert threads_for(nn.Linear(2, 2)) == 1


def test_a_batch_of_text_is_as_many_rows_as_have_1024_tokens_and_128_of_a_large_model():
    def rows(shape, dtype=torch.int64):
        return Rows(arrays={"features": torch.zeros(shape, dtype=dtype), "labels": torch.zeros(shape[0])})

    small, large = nn.Linear(2, 2), nn.Linear(4100, 4100)
    assert batch_size_for(small, rows((300, 64))) == 16
    assert batch_size_for(large, rows((300, 64))) == 2
    assert batch_size_for(small, rows((300, 5000))) == 1
    assert batch_size_for(small, rows((300, 4))) == 128
    assert batch_size_for(large, rows((300, 64), torch.float32)) == batch_size_for(large, rows((300,))) == 128
