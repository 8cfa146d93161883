"""What a spec may name on somebody else's machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from fl.errors import ConfigError
from fl.task.spec import TaskSpec
from fl.task.trust import OWN, Trust, UntrustedCode

SPEC = TaskSpec(model="fl.task.models:MLP", feature_shape=(3,), num_classes=2)


def text(**changes):
    """The spec's JSON with other words in it, as somebody else may have written it."""
    return json.dumps({**json.loads(SPEC.to_json()), **changes})


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module on the path that leaves a mark when it is imported."""
    mark = tmp_path / "imported"
    (tmp_path / "planted.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nimport torch\nclass Net(torch.nn.Linear):\n    pass\ndef net(**_):\n    return Net(3, 2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield mark
    sys.modules.pop("planted", None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": "torch.nn:Linear", "loss": "torch.nn:MSELoss"},
        {"model": "torch.nn.modules.linear:Linear", "loss": "mse"},
    ],
)
def test_what_comes_along_is_trusted(changes):
    Trust().check_text(text(**changes))
    spec = TaskSpec.from_json(
        text(**changes, model_arguments={"in_features": 3, "out_features": 2} if "model" in changes else {}),
        trust=Trust(),
    )
    assert isinstance(spec.build_model(), torch.nn.Module)
    assert isinstance(spec.build_loss(), torch.nn.Module)


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"model": "subprocess:run"}, "model"),
        ({"model": "torch.nn_evil:Net"}, "model"),
        ({"model": "torch.hub:load"}, "model"),
        ({"model": "fl.task:trust"}, "model"),
        ({"model": "torch.nn:Linear", "loss": "os:getcwd"}, "loss"),
    ],
)
def test_other_code_is_refused_by_name(changes, setting):
    path = changes[setting]
    package = path.partition(":")[0].partition(".")[0]
    for read in (Trust().check_text, lambda words: TaskSpec.from_json(words, trust=Trust())):
        with pytest.raises(UntrustedCode) as caught:
            read(text(**changes))
        assert str(caught.value) == (
            f"the task's {setting} is {path}, which is neither Fairshare's nor a torch.nn module; if you know and installed that "
            f"package, allow it with trust={package}"
        )


@pytest.mark.parametrize(
    "path",
    [
        "planted",
        "planted:",
        ":Net",
        "planted:Net:x",
        ".planted:Net",
        "planted/../x:Net",
        "",
        7,
        None,
        ["a"],
        {},
        "a" * 300 + ":b",
    ],
)
@pytest.mark.parametrize("setting", ["model", "loss"])
@pytest.mark.parametrize("trust", [Trust(), Trust.of("planted"), OWN])
def test_what_is_no_import_path_is_refused_before_anything_is_imported(planted, path, setting, trust):
    key = {"model": "model.path", "loss": "task.loss"}[setting]
    for read in (trust.check_text, lambda words: TaskSpec.from_json(words, trust=trust)):
        with pytest.raises(ConfigError, match=rf"{key} is .*; write it as package\.module:Name"):
            read(text(**{setting: path}))
    with pytest.raises(ConfigError, match="write it as package.module:Name"):
        trust.load(path, setting=setting)
    assert not planted.exists()


def test_an_unknown_loss_is_told_the_known_ones():
    with pytest.raises(ConfigError, match="task.loss is 'hinge'; .*, or choose cross_entropy, mse, huber, binary"):
        Trust().check_text(text(loss="hinge"))


@pytest.mark.parametrize("words", ["", "[1", "[" * 100_000, "7", "null", '["model"]'])
def test_text_that_is_no_spec_is_refused(words):
    with pytest.raises(ConfigError, match="the task spec is .*; fetch it again from the coordinator"):
        Trust().check_text(words)


@pytest.mark.parametrize("path", ["fl.task.models:build_model", "fl.task.models:torch", "torch.nn.functional:linear"])
def test_what_is_no_module_class_is_refused_wherever_it_is(path):
    Trust().check_path(path, setting="model")
    for spec in (
        TaskSpec.from_json(text(model=path), trust=Trust()),
        TaskSpec.from_json(text(model=path), trust=Trust.of("planted")),
    ):
        with pytest.raises(UntrustedCode, match="is neither"):
            spec.build_model()


@pytest.mark.parametrize("path", ["torch.nn:Transformer", "torch.nn.modules.linear:Linear", "fl.task.models:MLP"])
def test_a_layer_is_no_loss_and_is_not_built_as_one(path):
    with pytest.raises(
        ConfigError,
        match=f"task.loss is '{path}', which is not a loss; choose cross_entropy, .* such as torch.nn:Smooth",
    ):
        Trust().load(path, setting="loss")
    assert Trust().load("torch.nn:SmoothL1Loss", setting="loss")


def test_whatever_builds_from_a_foreign_spec_asks_the_gate(planted):
    """Each way to a model or loss, even where nobody checked the text before."""
    foreign = replace(SPEC, model="planted:Net", loss="planted:Net", trust=Trust())
    for build in (foreign.build_model, foreign.build_loss):
        with pytest.raises(UntrustedCode):
            build()
    with pytest.raises(UntrustedCode):
        replace(foreign, steps=3).build_model()  # a changed copy is as foreign
    assert not planted.exists()


def test_a_spec_cannot_say_itself_that_it_is_trusted():
    assert "trust" not in json.loads(SPEC.to_json())
    with pytest.raises(ConfigError, match=r"unknown keys \['trust'\]"):
        TaskSpec.from_json(text(trust={"own": True}), trust=Trust())


def test_a_package_that_the_owner_names_is_trusted(planted):
    words = text(model="planted:net")
    assert type(TaskSpec.from_json(words, trust=Trust.of(" other , planted")).build_model()).__name__ == "Net"
    assert planted.exists()
    with pytest.raises(UntrustedCode):
        Trust.of("my_package").check_path("my_packages.nets:Net", setting="model")


@pytest.mark.slow
def test_the_preview_does_not_import_from_the_folder_it_is_started_in(tmp_path):
    (tmp_path / "torch.py").write_text("open('imported', 'w').close()\nraise SystemExit('planted')\n")
    script = (
        "from clients.joining.preview import preview; import sys; print(preview(sys.stdin.read(), trust='').parameters)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        input=SPEC.to_json(),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == sum(parameter.numel() for parameter in SPEC.build_model().parameters())
    assert not (tmp_path / "imported").exists()
