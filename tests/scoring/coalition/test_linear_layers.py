import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring.rounds import rng, small_round
from torch import nn
from torch.nn.utils import prune

from fl.scoring.coalition.enumerate import coalition_table
from fl.scoring.coalition.game import CoalitionGame
from fl.scoring.coalition.linear_layers import fast_path, layers_of
from fl.scoring.coalition.values import all_coalitions
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import RoundInputs
from fl.scoring.scorer import build_scorer
from fl.task.model_vector import vector_of
from fl.task.models import MLP, LeNet, LogisticRegression
from fl.task.objectives import objective_of

pytest.importorskip("numba")
REPOSITORY = Path(__file__).resolve().parents[3]


def chained(*, model, clients=4, samples=150, seed=0):
    torch.manual_seed(seed)
    return small_round(model=model, clients=clients, samples=samples, features=(2, 3), seed=seed)


MODELS = {
    "logistic": lambda: LogisticRegression((2, 3), 3),
    "mlp": lambda: MLP((2, 3), 3, (5,)),
    "deep": lambda: MLP((2, 3), 3, (9, 17, 4)),
    "no-bias": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("game", ["fixed", "renormalised"])
@pytest.mark.parametrize("utility", ["loss", "accuracy"])
def test_the_kernel_gives_what_one_forward_per_coalition_gives(name, game, utility):
    inputs = chained(model=MODELS[name]())
    assert fast_path(inputs.game, utility=utility)
    found = coalition_table(CoalitionGame(inputs, game=game, utility=utility))
    slow = CoalitionGame(inputs, game=game, utility=utility).values(all_coalitions(4))
    np.testing.assert_allclose(found, slow, atol=1e-6 if utility == "loss" else 0.5 / 150)


def test_more_clients_than_one_pass_holds(monkeypatch):
    inputs = chained(model=MODELS["mlp"](), clients=6, samples=70)
    whole = coalition_table(CoalitionGame(inputs))
    monkeypatch.setattr("fl.scoring.coalition.linear_layers.LOW_CLIENTS", 2)
    monkeypatch.setattr("fl.scoring.coalition.linear_layers.BLOCK_BYTES", 1)  # one tile at a time
    parts = coalition_table(CoalitionGame(inputs))
    np.testing.assert_allclose(parts, whole, atol=1e-7)


@pytest.mark.parametrize("clients", [0, 1])
def test_nobody_and_one(clients):
    inputs = chained(model=MODELS["mlp"](), clients=clients)
    np.testing.assert_allclose(
        coalition_table(CoalitionGame(inputs)), CoalitionGame(inputs).values(all_coalitions(clients)), atol=1e-6
    )


def test_a_zero_update_changes_no_coalition_by_a_bit():
    inputs = chained(model=MODELS["mlp"]())
    inputs.updates[1][:] = 0
    table = coalition_table(CoalitionGame(inputs))
    numbers = np.arange(16)
    np.testing.assert_array_equal(table[numbers & ~2], table[numbers | 2])
    assert build_scorer("shapley").score(inputs, rng=rng()).values[1] == 0


def nothing(values):
    return values


class Twisted(nn.Module):
    """Looks like a chain of layers, and is not: a function sits between them."""

    def __init__(self, place, twist):
        super().__init__()
        self.inner, self.act, self.outer = nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)
        self.twists = {place: twist}

    def forward(self, x):
        x = self.twists.get("input", nothing)(x.flatten(1))
        before = self.twists.get("before", nothing)(self.inner(x))
        hidden = self.twists.get("hidden", nothing)(self.act(before))
        return self.twists.get("output", nothing)(self.outer(hidden))


def unnoticed(values):
    values.data.mul_(2)
    return values


TWISTS = {
    "a new array": lambda values: values * 2,
    "multiplied in place": lambda values: values.mul_(2),
    "divided in place": lambda values: values.div_(0.5),
    "clamped in place, seldom": lambda values: values.clamp_(max=2.5),
    "in place behind autograd's back": unnoticed,
    "multiplied in place where nothing is trained": lambda values: (
        values if torch.is_grad_enabled() else values.mul_(2)
    ),
}


@pytest.mark.parametrize(
    ("place", "twist"),
    # Autograd itself refuses a model that writes into what its ReLU made.
    [(place, twist) for place in ("input", "before", "hidden", "output") for twist in TWISTS
     if (place, twist) not in {("hidden", refused) for refused in tuple(TWISTS)[1:4]}],
)  # fmt: skip
def test_a_function_between_the_layers_is_noticed(place, twist):
    assert layers_of(chained(model=Twisted(place, nothing)).game) is not None
    inputs = chained(model=Twisted(place, TWISTS[twist]))
    assert layers_of(inputs.game) is None
    np.testing.assert_allclose(
        coalition_table(CoalitionGame(inputs)), CoalitionGame(inputs).values(all_coalitions(4)), atol=1e-6
    )


class DoublingLinear(nn.Linear):
    """A linear layer by its class, and another function."""

    def forward(self, x):
        return 2 * super().forward(x)


class NoisyDropout(nn.Dropout):
    """Drops in evaluation too."""

    def forward(self, x):
        return 2 * x


def hooked():
    model = MODELS["mlp"]()
    next(module for module in model.modules() if isinstance(module, nn.Linear)).register_forward_hook(
        lambda *call: 2 * call[2]
    )
    return model


@torch.no_grad()
def pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.3)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), DoublingLinear(6, 4), nn.ReLU(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), NoisyDropout(), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
        nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), nn.ReLU(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), pruned(nn.Linear(6, 4)), nn.ReLU(), nn.Linear(4, 3)),
        hooked(),
    ],
    ids=["own-layer", "own-dropout", "by-row", "weight-norm", "pruned", "hook"],
)
def test_layers_that_do_something_else_take_the_general_way(model):
    inputs = chained(model=model)
    assert fast_path(inputs.game, utility="loss") is None
    np.testing.assert_allclose(
        coalition_table(CoalitionGame(inputs)), CoalitionGame(inputs).values(all_coalitions(4)), atol=1e-6
    )


def test_relus_that_work_in_place_are_layers_too():
    inputs = chained(model=nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)))
    assert layers_of(inputs.game) is not None


class Shared(nn.Module):
    """Uses one layer twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.act, self.last = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.act(self.layer(self.act(self.layer(x.flatten(1))))))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU()),
        Shared(),
    ],
    ids=["tanh", "no-relu", "norm", "relu-last", "shared"],
)  # fmt: skip
def test_other_models_take_the_general_way(model):
    assert fast_path(chained(model=model).game, utility="loss") is None


def test_other_losses_and_convolutions_take_the_general_way():
    inputs = chained(model=MODELS["mlp"]())
    inputs.game.objective = objective_of(nn.CrossEntropyLoss(label_smoothing=0.1))
    assert fast_path(inputs.game, utility="loss") is None
    assert fast_path(inputs.game, utility="accuracy") is not None
    lenet = small_round(model=LeNet((1, 8, 8), 3), features=(1, 8, 8))
    assert fast_path(lenet.game, utility="accuracy") is None


def counts(workers):
    """A round of plain draws: a trained one would differ from machine to machine by itself."""
    draw, model = rng(), MLP((6,), 3, (9, 17, 4))
    game = ValidationGame(
        model,
        loss=nn.CrossEntropyLoss(),
        features=draw.normal(size=(300, 6)).astype(np.float32),
        labels=draw.integers(3, size=300),
    )
    size = len(vector_of(model))
    inputs = RoundInputs(
        game=game,
        base=draw.normal(size=size).astype(np.float32),
        updates=[draw.normal(size=size) for _ in range(5)],
        weights=np.array([0.1, 0.2, 0.3, 0.15, 0.25]),
    )
    return CoalitionGame(inputs, utility="accuracy", workers=workers)


def digest(workers):
    """Of the numbers of right answers of all coalitions."""
    table = coalition_table(counts(workers)) * 300
    assert np.abs(table - np.rint(table)).max() < 1e-9
    return hashlib.sha256(np.rint(table).astype("<i8").tobytes()).hexdigest()


def test_any_number_of_threads_counts_the_same():
    assert digest(1) == digest(2) == digest(5)


def test_an_older_processor_counts_the_same(tmp_path):
    # The kernel compiled for plain x86-64, and a BLAS of 2008: other vector widths, no fused multiplication.
    program = "import sys; sys.path.insert(0, 'tests'); from scoring.coalition.test_linear_layers import digest; print(digest(1))"
    older = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "OPENBLAS_CORETYPE": "Nehalem",
        "ATEN_CPU_CAPABILITY": "default",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=older, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest(1)


def test_the_compiler_fuses_no_multiplication_with_an_addition():
    from numba import njit  # noqa: PLC0415 - may be absent

    from fl.scoring.coalition import kernel  # noqa: PLC0415

    digest(1)
    for function in (kernel.tiles, kernel._two_rows, kernel._one_row):
        # Compiled anew, since numba shows no assembly of what it read from its cache.
        anew = njit(function.signatures[0], nogil=True, error_model="numpy")(function.py_func)
        (assembly,) = anew.inspect_asm().values()
        assert "mul" in assembly
        assert "fmadd" not in assembly  # x86
        assert "fmla" not in assembly  # ARM
