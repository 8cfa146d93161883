"""Models and losses that people bring, tried on a few rows: what works passes, and what does not is refused in one line."""

import random
import sys

import numpy as np
import pandas
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fl.errors import ConfigError, FairshareError
from fl.task.objectives import Binary, Huber, MultiLabel, SquaredError, objective_of
from fl.task.preflight import UnfitModel, check_model
from fl.task.rows import rows_of

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(24, 5)).astype(np.float32)
CLASSES = X[:, :3].argmax(1)
IDS = DRAW.integers(0, 50, size=(24, 6))
CROSS_ENTROPY = nn.CrossEntropyLoss()


class Net(nn.Module):
    """A linear layer and whatever a test does to its output."""

    def __init__(self, change=lambda outputs: outputs, *, outputs=3, **options):
        super().__init__()
        self.layer, self.change = nn.Linear(5, outputs, **options), change

    def forward(self, x):
        return self.change(self.layer(x))


class Casting(nn.Module):
    """Half precision inside."""

    def __init__(self, dtype):
        super().__init__()
        self.layer = nn.Linear(5, 3, dtype=dtype)

    def forward(self, x):
        return self.layer(x.to(self.layer.weight.dtype)).float()


class Words(nn.Module):
    """Token ids through an LSTM."""

    def __init__(self):
        super().__init__()
        self.words, self.rnn, self.out = nn.Embedding(50, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, ids):
        return self.out(self.rnn(self.words(ids))[0][:, -1])


class TwoInputs(nn.Module):
    """Takes two arrays."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 3), nn.Linear(2, 3)

    def forward(self, x, z):
        return self.a(x) + self.b(z)


class Noisy(Net):
    """Draws in forward, as a variational model does."""

    def forward(self, x):
        return self.layer(x + torch.randn_like(x) + random.random() + float(np.random.rand()))


def probable():
    """Raw outputs that lie between 0 and 1, at first."""
    net = Net(outputs=1)
    with torch.no_grad():
        net.layer.weight.mul_(0.01)
        net.layer.bias.fill_(0.5)
    return net


def against_the_batch(model, batch):
    """Every row against the others, as two views of it are told apart."""
    first, second = (model(batch[0] + 0.1 * torch.randn_like(batch[0])) for _ in range(2))
    return functional.cross_entropy(first @ second.T, torch.arange(len(first)))


def overlap(model, batch):
    """The Dice coefficient of a whole batch, beside a loss of each row."""
    chances, wanted = model(batch["x"]).sigmoid(), batch["mask"].float()
    shared = 2 * (chances * wanted).sum() / (chances.sum() + wanted.sum())
    return functional.binary_cross_entropy(chances, wanted) + 1 - shared


class Counting(Net):
    """Gives something else each time."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x * self.calls)


class Unused(Net):
    """Has a layer that nothing reads."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Shared(Net):
    """Two parameters over one memory."""

    def __init__(self):
        super().__init__()
        self.twin = nn.Parameter(self.layer.weight.data)


class Slices(nn.Module):
    """Two parameters side by side in one memory."""

    def __init__(self):
        super().__init__()
        both = torch.randn(30)
        self.first, self.second = (nn.Parameter(half.view(3, 5)) for half in (both[:15], both[15:]))

    def forward(self, x):
        return x @ (self.first + self.second).T


class Scaled(Net):
    """A parameter of no dimension."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.layer(x) * self.scale


class Sparse(nn.Module):
    """An embedding whose gradient names its rows."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(50, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, ids):
        return self.out(self.words(ids).mean(1))


def normed():
    return nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))


GOOD = {
    "linear": (Net(), CROSS_ENTROPY, (X, CLASSES)),
    "lists": (Net(), CROSS_ENTROPY, (X.tolist(), CLASSES.tolist())),
    "float64 and int32": (Net(), CROSS_ENTROPY, (X.astype(np.float64), CLASSES.astype(np.int32))),
    "bf16 that casts": (Casting(torch.bfloat16), CROSS_ENTROPY, (X, CLASSES)),
    "double that casts": (Casting(torch.float64), CROSS_ENTROPY, (X, CLASSES)),
    "token ids": (Words(), CROSS_ENTROPY, (IDS, IDS[:, -1] > 25)),
    "two inputs": (TwoInputs(), CROSS_ENTROPY, ((X, X[:, :2]), CLASSES)),
    "named inputs": (TwoInputs(), CROSS_ENTROPY, ({"x": X, "z": X[:, :2]}, CLASSES)),
    "batches": (Net(), CROSS_ENTROPY, [(X[:12], CLASSES[:12]), (X[12:], CLASSES[12:])]),
    "class weights": (Net(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), (X, CLASSES)),
    "one logit": (Net(outputs=1), Binary(), (X, CLASSES > 0)),
    "several labels": (Net(), MultiLabel(), (X, (X[:, :3] > 0).astype(np.int64))),
    "squared error of a flat target": (Net(outputs=1), SquaredError(), (X, X[:, 0])),
    "shares of one logit": (Net(outputs=1), Binary(), (X, 1 / (1 + np.exp(-X[:, 0])))),
    "shares of classes": (Net(), CROSS_ENTROPY, (X, np.exp(X[:, :3]) / np.exp(X[:, :3]).sum(1, keepdims=True))),
    "the one label of several": (Net(), MultiLabel(), (X, CLASSES)),
    "huber of a column": (Net(outputs=1), Huber(), (X, X[:, :1])),
    "dict and own loss": (
        Net(lambda outputs: {"logits": outputs}),
        lambda model, batch: functional.cross_entropy(model(batch[0])["logits"], batch[1], reduction="none"),
        (X, CLASSES),
    ),
    "dict and own mean": (
        Net(lambda outputs: {"logits": outputs}),
        lambda model, batch: functional.cross_entropy(model(batch["x"])["logits"], batch["y"]),
        {"x": X, "y": CLASSES},
    ),
    "logarithms": (Net(lambda out: out.log_softmax(1)), nn.NLLLoss(), (X, CLASSES)),
    "slices of one storage": (Slices(), CROSS_ENTROPY, (X, CLASSES)),
    "weights by parametrization": (nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)), CROSS_ENTROPY, (X, CLASSES)),
    "a number alone": (Scaled(), CROSS_ENTROPY, (X, CLASSES)),
    "inputs alone": (Net(outputs=5), lambda model, batch: (model(batch[0]) - batch[0]).square().mean(1), (X,)),
    "noise in a loss without targets": (
        Noisy(outputs=5),
        lambda model, batch: (model(batch[0]) - batch[0]).square().mean(),
        (X,),
    ),
    "noise": (Noisy(), CROSS_ENTROPY, (X, CLASSES)),
    "batch norm": (normed(), CROSS_ENTROPY, (X * 1000, CLASSES)),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_model_that_works_passes_and_stays_as_it_was(name):
    model, loss, validation = GOOD[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    check_model(model, objective_of(loss), rows_of(validation), batch_size=8)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()


BAD = {
    "bf16": (Net(dtype=torch.bfloat16), CROSS_ENTROPY, (X, CLASSES), "the parameters are bfloat16: convert in forward"),
    "half": (Net(dtype=torch.float16), CROSS_ENTROPY, (X, CLASSES), "the parameters are float16: convert in forward"),
    "double": (Net(dtype=torch.float64), CROSS_ENTROPY, (X, CLASSES), "the parameters are float64: convert in forward"),
    "tuple": (Net(lambda out: (out, out)), CROSS_ENTROPY, (X, CLASSES), "the model gives a tuple of 2; return one tensor"),
    "dict": (Net(lambda out: {"logits": out}), CROSS_ENTROPY, (X, CLASSES), "the model gives a dict with logits; return"),
    "lazy": (nn.Sequential(nn.LazyLinear(3)), CROSS_ENTROPY, (X, CLASSES), "layer 0 is lazy and has no size yet; give its"),
    "mse of (N, 1) and (N,)": (
        Net(outputs=1), nn.MSELoss(), (X, X[:, 0]), r"\(outputs of shape \(8, 1\), targets of shape \(8,\)\); .*: give outputs and targets one",
    ),
    "sum": (Net(), nn.CrossEntropyLoss(reduction="sum"), (X, CLASSES), "leave out reduction='sum'"),
    "own sum": (
        Net(), lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1], reduction="sum"), (X, CLASSES),
        "one by one .*: leave out reduction='sum', or divide it by the number of rows$",
    ),
    "rows against each other, with noise": (Net(), against_the_batch, (X,), "leave out what looks at other rows of a batch, as a Dice, con"),
    "a coefficient of the whole batch": (Net(), overlap, {"x": X, "mask": X[:, :3] > 0}, "give one loss a row$"),
    "weights that share the batch out": (
        Net(), lambda model, batch: (functional.cross_entropy(model(batch[0]), batch[2], reduction="none") * batch[1]).sum() / batch[1].sum(),
        (X, X[:, 0] ** 2, CLASSES), "a division by the sum of the batch's weights",
    ),
    "names without labels": (
        Net(), CROSS_ENTROPY, {"image": X, "mask": CLASSES},
        r"have image, mask, and a loss module takes its targets from labels; .* batch: criterion\(model\(batch\['image'\]\), batch\['mask'\]\)",
    ),
    "inputs alone under a module": (Net(), CROSS_ENTROPY, (X,), r"inputs alone, .*; give \(inputs, targets\), such as \(x, x\)"),
    "several labels under cross-entropy": (Net(), CROSS_ENTROPY, (X, (X[:, :3] > 0).astype(int)), "for several labels a row multi_label"),
    "no reduction": (Net(), nn.CrossEntropyLoss(reduction="none"), (X, CLASSES), r"the loss has shape \(8,\), .*make it one real"),
    "looks at other rows": (Net(lambda out: out - out.mean(0)), CROSS_ENTROPY, (X, CLASSES), "what looks at other rows of a batch"),
    "one logit against classes": (Net(outputs=1), nn.BCEWithLogitsLoss(), (X, CLASSES > 0), "use task.loss=binary"),
    "float classes": (Net(), CROSS_ENTROPY, (X, CLASSES.astype(float)), "classes have to be whole numbers"),
    "words out of range": (Words(), CROSS_ENTROPY, (IDS + 50, IDS[:, -1] > 25), "an embedding a row for each word"),
    "one logit of cross-entropy": (Net(outputs=1), CROSS_ENTROPY, (X, CLASSES), "for one logit a row use task.loss=binary"),
    "one number a row of cross-entropy": (
        Net(lambda out: out[:, 0]), CROSS_ENTROPY, (X, CLASSES), r"takes an output for each class, shape \(n, classes\)",
    ),
    "float words": (Words(), CROSS_ENTROPY, (IDS.astype(float), IDS[:, -1] > 25), "ids have to come as whole numbers: set data.ids=true for a table"),
    "an end of the process": (Net(lambda out: sys.exit("bye")), CROSS_ENTROPY, (X, CLASSES), "fails on .*: SystemExit: bye; make"),
    "an input too few": (TwoInputs(), CROSS_ENTROPY, (X, CLASSES), "give forward the inputs that it takes"),
    "a function of outputs": (Net(), functional.cross_entropy, (X, CLASSES), "a loss is a module, such as nn.CrossEntropyLoss"),
    "own loss of another shape": (Net(), lambda model, batch: model(batch[0]), (X, CLASSES), r"gives its loss function <lambda> shape"),
    "unused layer": (Unused(), CROSS_ENTROPY, (X, CLASSES), "no gradient reaches spare.weight, spare.bias, .*freeze it"),
    "state": (Counting(), CROSS_ENTROPY, (X, CLASSES), "two gradients of the initial model differ by .* at layer.weight"),
    "nothing trained": (Net().requires_grad_(False), CROSS_ENTROPY, (X, CLASSES), "has no parameter that is trained"),
    "detached": (Net(lambda out: out.detach()), CROSS_ENTROPY, (X, CLASSES), "leave out detach"),
    "not finite": (Net(lambda out: out / 0 * 0), CROSS_ENTROPY, (X, CLASSES), "the loss of the initial model is nan"),
    "infinite gradient": (
        Net(lambda out: (out * 0).sqrt() + out), CROSS_ENTROPY, (X, CLASSES), "the gradient of layer.weight holds NaN",
    ),
    "a number for cross-entropy": (Net(outputs=1), CROSS_ENTROPY, (X, X[:, :1]), "the targets are numbers, and cross-entropy takes a class"),
    "several numbers for cross-entropy": (Net(), CROSS_ENTROPY, (X, X[:, :3]), "set task.loss=mse or huber"),
    "a number for one logit": (Net(outputs=1), Binary(), (X, X[:, :1] / 5 - 1), "the targets run from .*, and the loss takes 0 and 1"),
    "three classes for one logit": (Net(outputs=1), Binary(), (X, CLASSES), "the targets run from 0 to 2, .*cross_entropy for more"),
    "counts for several labels": (Net(), MultiLabel(), (X, np.stack([CLASSES] * 3, 1)), "the targets run from 0 to 2"),
    "numbers for torch's own": (
        Net(outputs=1), nn.BCEWithLogitsLoss(), (X, X[:, :1] * 9), r"nn.MSELoss\(\) or nn.HuberLoss\(\) for paying",
    ),
    "a single class": (Net(outputs=1), CROSS_ENTROPY, (X, np.ones((24, 1))), "the gradient of the initial model is 0 for every parameter"),
    "dead units": (Net(lambda out: torch.relu(out - 99)), CROSS_ENTROPY, (X, CLASSES), "layers that pass nothing on"),
    "an id that one row holds": (
        Words(), CROSS_ENTROPY, (np.where(np.arange(144).reshape(24, 6) == 43, 50, IDS), IDS[:, -1] > 25), "an embedding a row for",
    ),
    "a class that one row holds": (Net(), CROSS_ENTROPY, (X, np.where(np.arange(24) == 7, 3, CLASSES)), "an output for each class"),
    "sparse gradients": (Sparse(), CROSS_ENTROPY, (IDS, CLASSES), "the gradient of words.weight is sparse; build the embedding with"),
    "raw outputs as probabilities": (
        probable(),
        nn.BCELoss(),
        (X, (CLASSES > 0).astype(np.float32)[:, None]),
        r"nn.BCELoss takes probabilities, and the outputs leave 0 to 1 as the parameters move; end forward with sigmoid\(\), or use",
    ),
    "raw outputs as logarithms": (Net(), nn.NLLLoss(), (X, CLASSES), "nn.NLLLoss takes logarithms of probabilities, .*log_softmax"),
    "rows that are ignored": (
        Net(), CROSS_ENTROPY, (X, np.where(CLASSES == 1, -100, CLASSES)), "leave out the rows that are labelled -100",
    ),
    "no values": (nn.Linear(5, 3, device="meta"), CROSS_ENTROPY, (X, CLASSES), "is on torch's device meta and has no values; build"),
    "compiled by jit": (torch.jit.script(nn.Linear(5, 3)), CROSS_ENTROPY, (X, CLASSES), "is compiled by torch.jit; give the module"),
    "no running statistics": (
        nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)), CROSS_ENTROPY, (X, CLASSES),
        "keep running statistics .*LayerNorm or GroupNorm",
    ),
    "shared memory": (Shared(), CROSS_ENTROPY, (X, CLASSES), "share memory without being one; tie them by assigning"),
    "complex": (Net(dtype=torch.complex64), CROSS_ENTROPY, (X, CLASSES), "is torch.complex64, and only real floats travel"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_model_that_does_not_work_is_refused_in_one_line(name):
    model, loss, validation, message = BAD[name]
    with pytest.raises(FairshareError, match=message) as caught:
        check_model(model, objective_of(loss), rows_of(validation), batch_size=8)
    assert "\n" not in str(caught.value)


def test_a_batch_of_one_row_has_no_batch_statistics():
    with pytest.raises(UnfitModel, match="has batch norms and task.batch_size is 1, .*set task.batch_size=2"):
        check_model(normed(), objective_of(CROSS_ENTROPY), rows_of((X, CLASSES)), batch_size=1)


def test_what_fails_in_training_alone_says_so():
    class Training(Net):
        def forward(self, x):
            return (self.layer(x), 1) if self.training else self.layer(x)

    with pytest.raises(FairshareError, match="the model gives a tuple of 2"):
        check_model(Training(), objective_of(CROSS_ENTROPY), rows_of((X, CLASSES)), batch_size=8)
    check_model(Training(), objective_of(CROSS_ENTROPY), rows_of((X, CLASSES)))  # where nobody trains here


def test_initial_values_that_are_no_numbers_are_refused():
    model = Net()
    with torch.no_grad():
        model.layer.bias[0] = torch.nan
    with pytest.raises(UnfitModel, match="the initial parameter layer.bias holds NaN or infinity; start from finite"):
        check_model(model, objective_of(CROSS_ENTROPY), rows_of((X, CLASSES)))


def test_a_model_that_cannot_be_copied_is_refused():
    class Held(Net):
        def __deepcopy__(self, memo):
            raise TypeError("a handle")

    with pytest.raises(UnfitModel, match=r"the model cannot be copied \(TypeError: a handle\)"):
        check_model(Held(), objective_of(CROSS_ENTROPY), rows_of((X, CLASSES)))


def test_a_loader_of_inputs_alone_gives_rows_without_targets():
    for data in (torch.from_numpy(X), TensorDataset(torch.from_numpy(X))):
        found = rows_of(DataLoader(data, batch_size=7))
        (inputs,) = found.batch()
        assert torch.equal(inputs, torch.from_numpy(X))
        assert found.hash() == rows_of((X,)).hash() != rows_of((X, X)).hash()


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((np.where(X > 2, np.nan, X), CLASSES), "validation's inputs has NaN or infinity in [0-9]+ of 24 rows; fill"),
        ((X, CLASSES.astype(str)), "validation's targets holds <U21 and not numbers; encode it first"),
        ((X, 3), "validation's targets is a single number; give one row for each sample"),
        (([[1.0], [1.0, 2.0]], [0, 1]), "validation's inputs has rows of different lengths; pad them to one"),
        ((X * 1j, CLASSES), "validation's inputs holds complex64 and not numbers"),
        ((torch.from_numpy(X) * 1j, CLASSES), "validation's inputs is torch.complex64; give real numbers"),
        ((X, CLASSES[:5]), "validation cannot be read: the validation set has 24 inputs and 5 labels"),
        ({"x": X, "y": CLASSES[:5]}, "validation cannot be read: the validation set has 24 of x, 5 of y"),
        (
            ((X, IDS[:2]), CLASSES),
            "24 of input 0, 2 of input 1, 24 of labels; .*: what all rows share, such as a graph's edges",
        ),
        ([X, CLASSES], r"validation is a list with a ndarray in it; give a tuple \(inputs, targets\)"),
        (torch.from_numpy(X), r"validation is a Tensor; give .*; inputs without targets are \(inputs,\)"),
        (X, "validation is a ndarray; give"),
        (
            TensorDataset(torch.from_numpy(X), torch.from_numpy(CLASSES)),
            "validation is a TensorDataset; .*: of a Dataset, a DataLoader",
        ),
        (pandas.DataFrame(X), "validation is a DataFrame; give"),
        ((np.ma.masked_greater(X, 1), CLASSES), "validation's inputs has masked values; fill them in"),
        ((torch.from_numpy(X).to_sparse(), CLASSES), "validation's inputs is sparse or nested; give it dense"),
        (7, "validation is a int; give"),
        (iter(()), "validation has no batch; an iterator that was read before is empty"),
        ([(X, CLASSES), {"x": X, "y": CLASSES}], "the batches of validation differ: features, labels and x, y"),
        (
            [(X, CLASSES), (X[:, :3], CLASSES)],
            r"have features of shapes \(24, 5\) and \(24, 3\); pad all to one length",
        ),
    ],
)
def test_a_validation_set_that_cannot_be_read_is_refused(validation, message):
    with pytest.raises(ConfigError, match=message):
        rows_of(validation)
