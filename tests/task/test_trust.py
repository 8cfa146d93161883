"""What a spec may name on somebody else's machine."""

import pytest

from fl.task.trust import UntrustedCode, check_names, check_trust, packages


@pytest.mark.parametrize(
    "spec",
    [
        {"model": "fl.task.models:MLP", "loss": "cross_entropy"},
        {"model": "torch.nn:Linear", "loss": "torch.nn:MSELoss"},
        {"model": "torch.nn.modules.linear:Linear"},
    ],
)
def test_what_comes_along_is_trusted(spec):
    check_trust(spec)


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        ({"model": "subprocess:run"}, "model"),
        ({"model": "torch.nn_evil:Net"}, "model"),
        ({"model": "torch.hub:load"}, "model"),
        ({"model": ""}, "model"),
        ({"model": "torch.nn:Linear", "loss": "os:getcwd"}, "loss"),
    ],
)
def test_other_code_is_refused_by_name(spec, setting):
    with pytest.raises(UntrustedCode) as caught:
        check_names(spec)
    path = spec[setting]
    package = path.partition(":")[0].partition(".")[0]
    assert str(caught.value) == (
        f"the task's {setting} is {path}, which is neither Fairshare's nor a torch.nn module; if you know and installed that "
        f"package, allow it with trust={package}"
    )


@pytest.mark.parametrize("path", ["fl.task.models:build_model", "fl.task.models:torch", "torch.nn.functional:linear"])
def test_what_is_no_module_class_is_refused_wherever_it_is(path):
    check_names({"model": path})
    with pytest.raises(UntrustedCode, match="is neither"):
        check_trust({"model": path})


def test_a_package_that_the_owner_names_is_trusted():
    check_names({"model": "my_package.nets:Net"}, allowed=packages(" my_package , other"))
    with pytest.raises(UntrustedCode):
        check_names({"model": "my_packages.nets:Net"}, allowed=("my_package",))
