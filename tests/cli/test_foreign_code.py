"""Every command that reads what somebody else wrote: a module that a task's spec names is not imported unless its owner allows it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from clients.joining.preview import preview
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.invite import Invite
from fl.cli.main import COMMANDS
from fl.errors import ConfigError
from fl.task.saved_model import SavedModel
from fl.task.trust import UntrustedCode

# What a command that reads an invite, a run's folder or an archive is asked, {} standing for the folder that somebody gave
# away; and whether it builds the task's model, so that it has to refuse.
FOREIGN = {
    "audit": (["{}"], True),
    "score": (["{}/bundles/round-0001", "data=csv", "data.path={}/rows.csv", "data.target=-1"], True),
    "evaluator": (["invite={}/invite.json", "anvil=3", "folder={}/evaluator", "once=true"], True),
    "client": (["invite={}/with-gateway.json", "data={}/rows.csv", "anvil=9", "folder={}/node"], False),
    "watch": (["{}", "dry=true", "once=true", "folder={}/watch"], False),
    "status": (["invite={}/invite.json", "account=0x90F79bf6EB2c4f870365E785982E1f101E93b906"], False),
    "events": (["{}/invite.json", "out={}/events"], False),
    "claim": (
        ["invite={}/invite.json", "bundles={}/bundles", "account=0x90F79bf6EB2c4f870365E785982E1f101E93b906"],
        False,
    ),
    "join": (["invite={}/invite.json", "stake=1", "anvil=9"], False),
    "recipient": (["folder={}/node", "anvil=9", "to=0x90F79bf6EB2c4f870365E785982E1f101E93b906"], False),
    "leave": (["folder={}/node", "anvil=9"], False),
    "budget": (["{}", "add=5", "anvil=0"], False),
    "joining": (["{}", "open=false", "anvil=0"], False),
    "handover": (["{}", "to=0x90F79bf6EB2c4f870365E785982E1f101E93b906", "anvil=1"], False),
    "doctor": (["invite={}/invite.json"], False),
    "dashboard": (["run={}", "port=-1"], False),
    "finish": (["{}", "anvil=1"], False),
    "predict": (["{}/best.safetensors", "{}/rows.csv"], True),
}
# These read their owner's own settings, or what the chain says.
OWN = {"run", "shards", "coordinator", "devnet", "deploy", "mint", "key", "completion", "compile"}


@pytest.fixture(scope="module")
def given(lasting_world, spec, table_schema, tmp_path_factory):
    """The folder of a task whose model and loss are a module beside it, which leaves a mark when it is imported."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "planted.py").write_text(
        f"open({str(folder / 'imported')!r}, 'w').close()\n"
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(3, 2)\n"
    )
    sys.path.insert(0, str(folder))
    try:
        world = lasting_world(
            spec=spec(model="planted:Net", model_arguments={}, schema=table_schema, class_names=("0", "1")), rounds=1
        )
        world.run(world.app(world.downhill))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("planted", None)
    (folder / "imported").unlink()
    (world.folder / "bundles").rename(folder / "bundles")
    world.invite.write(folder / "invite.json")
    replace(world.invite, gateway="https://127.0.0.1:9").write(folder / "with-gateway.json")
    write_validation(folder / VALIDATION, world.validation)
    arrays = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    SavedModel(arrays=arrays, spec=world.spec.to_json(), about={}).write(folder / "best.safetensors")
    (folder / "rows.csv").write_text("a,b,c,label\n" + "".join(f"{n},{n % 3},{n % 5},{n % 2}\n" for n in range(60)))
    return folder


def test_every_command_is_looked_at():
    assert FOREIGN.keys() | OWN == COMMANDS.keys()
    assert not FOREIGN.keys() & OWN


@pytest.mark.parametrize("command", FOREIGN)
def test_a_foreign_module_is_not_imported(given, fl_process, environment, command):
    arguments, builds = FOREIGN[command]
    done = fl_process(
        command,
        *(part.format(given) for part in arguments),
        folder=given,  # as somebody does who unpacked it and went there
        PYTHONPATH=f"{environment['PYTHONPATH']}:{given}",
    )
    assert not (given / "imported").exists()
    assert "Traceback" not in done.stderr
    if builds:
        assert done.returncode == 1
        assert "the task's model is planted:Net, which is neither Fairshare's nor a torch.nn module" in done.stderr
        assert "allow it with trust=planted" in done.stderr


def test_the_preview_of_a_client_does_not_import_it(given, monkeypatch):
    """What `fl client` calls before it asks its owner, whatever the gateway says."""
    monkeypatch.setenv("PYTHONPATH", str(given))
    monkeypatch.chdir(given)
    spec = Invite.read(given / "invite.json").spec
    with pytest.raises(UntrustedCode):
        preview(spec)
    with pytest.raises(ConfigError, match="loss is 'planted'"):
        preview(json.dumps({**json.loads(spec), "model": "torch.nn:Linear", "loss": "planted"}))
    assert not (given / "imported").exists()


def test_it_is_imported_where_the_owner_allows_it(given, fl_process, environment):
    done = fl_process("audit", given, "trust=planted", folder=given, PYTHONPATH=f"{environment['PYTHONPATH']}:{given}")
    assert done.returncode == 0, done.stderr
    assert (given / "imported").exists()
    (given / "imported").unlink()
