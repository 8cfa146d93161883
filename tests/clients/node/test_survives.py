"""What a node survives and what it will not do: killed, asked twice, sent foreign code, with a wrong clock."""

import io
import os
import re
import signal
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord

import fl.coordinator.superlink.process as superlinks
from fl.chain.typed_data import Update, signer_of
from fl.codec import Blocks, block_root, model_hash
from fl.protocol import RECORD, SignedUpdate

HERE = Path(__file__).parent


@pytest.fixture
def bundled_code(monkeypatch, tmp_path):
    """Runs carry an app that writes a file wherever any of it is imported, built or installed; returns that file."""
    touched = tmp_path / "touched"
    write = f"open({str(touched)!r}, 'w').write(__name__)\n"
    files = {
        "pyproject.toml": (
            "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
            "[project]\nname = 'evil'\nversion = '1.0.0'\ndependencies = []\n"
            "[tool.flwr.app]\npublisher = 'evil'\n"
            "[tool.flwr.app.components]\nserverapp = 'evil.server:app'\nclientapp = 'evil.client:app'\n"
            "[tool.flwr.app.config]\n"
        ),
        **dict.fromkeys(("backend.py", "setup.py", "sitecustomize.py", "evil/__init__.py"), write),
        **dict.fromkeys(("evil/client.py", "evil/server.py", "slow_app.py", "clients/__init__.py"), write),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    monkeypatch.setattr(superlinks, "_empty_app", lambda app_name: packed.getvalue())
    return touched


@pytest.fixture
def slow(tmp_path):
    """Settings of a node that runs `slow_app`, and the lines that it writes, one a training."""
    variables = {"SLOW_APP_FOLDER": str(tmp_path), "PYTHONPATH": f"{HERE}:{HERE.parents[2]}"}
    trained = tmp_path / "trained"
    return {
        "app": "slow_app:app",
        "variables": variables,
    }, lambda: trained.read_text().splitlines() if trained.exists() else []


class Malformed(ConfigRecord):
    """A part of a message that passes the SuperLink's and the SuperNode's checks, which look at its head alone."""

    def __init__(self, content):
        super().__init__()
        self.__dict__["sent"] = content

    def deflate(self):
        return self.__dict__["sent"]


def of_kind(kind, body, children=""):
    """The bytes of an object, as Flower sends it."""
    return f"{kind} {children} {len(body)}".encode() + b"\x00" + body


MALFORMED = {
    of_kind("ConfigRecord", b"\xff"): "DecodeError: ",
    of_kind("ConfigRecord", b"", children="a" * 64): "KeyError: ",
    of_kind("Array", b"\xff\x1b[8m"): "UnicodeDecodeError: ",
    of_kind("ArrayRecord", b'{"w": "\\u001b[8m"}'): "ValueError: ",
    of_kind("Message", b""): "IndexError: ",
}


def ask(grid, message):
    """One message's answer: the signed update, or the reason against it."""
    (reply,) = grid.send_and_receive([message])
    return reply.error.reason if reply.has_error() else SignedUpdate.from_record(reply.content[RECORD])


def test_a_node_that_is_killed_comes_back_as_itself_and_signs_once(  # noqa: PLR0915 - one life of a node, as starting one takes seconds
    new_coordination, bundled_code, slow, until, alive
):
    settings, trainings = slow
    coordination = new_coordination(rounds=5, clients=1)
    coordination.fund(0)
    base = np.arange(8, dtype=np.float32)
    with coordination.registering():
        node = coordination.start(0, **settings)
        first_line = node.says("connected to 127.0.0.1:")
        with coordination.grid(rejoin_s=140.0) as grid:  # a busy machine takes its time to start a node
            (node_id,) = grid.get_node_ids()
            answers = []
            question = coordination.question(node_id, base=base, round_number=1)
            round_one = threading.Thread(target=lambda: answers.append(ask(grid, question)))
            round_one.start()
            until(trainings, what="the first training")

            # Killed in the middle of training: nothing that it started stays, and it is sampled again as itself.
            family = node.family()
            assert family
            node.send(signal.SIGKILL)
            node.ends()
            until(lambda: not any(map(alive, family)), what="the SuperNode's end")
            node = coordination.start(0, **settings)
            node.says("is a client of task")
            assert node.says("connected to 127.0.0.1:").split()[-1] == first_line.split()[-1] == str(node_id)
            until(lambda: len(trainings()) == 2, what="the second training")
            (coordination.folder / "go").touch()
            round_one.join(timeout=150)
            (signed,) = answers
            update = Update(
                task_id=coordination.world.task.task_id,
                round=1,
                client=coordination.world.addresses[0],
                base_model=model_hash(base),
                update_root=block_root(signed.blocks),
            )
            assert (
                signer_of(update, domain=coordination.world.task.domain, signature=signed.signature)
                == coordination.world.addresses[0]
            )
            np.testing.assert_array_equal(Blocks.from_bytes(signed.blocks, size=8).decode(), np.full(8, 0.25))

            # Its SuperNode dies: another one takes over.
            (supernode,) = node.family()
            (coordination.folder / f"printed-{len(coordination.started) - 1}").write_text("")
            os.kill(supernode, signal.SIGKILL)
            node.says("the connection to 127.0.0.1:")
            node.says("connected to 127.0.0.1:")

            # Asked again: the same bytes, from the disk, without training. Anything else is refused, and why is said.
            def again(**changes):
                asked = {"base": base, "round_number": 1, **changes}
                return ask(grid, coordination.question(node_id, **asked))

            assert again() == signed
            assert "from another base model was signed already" in again(base=base + 1)
            assert again(task_id=b"\x09" * 32).startswith("asked to sign for task 0x0909")

            # What no honest coordinator sends is answered too, and the node goes on.
            for broken, told in MALFORMED.items():
                question = coordination.question(node_id, base=base, round_number=1)
                question.content["broken"] = Malformed(broken)
                reason = ask(grid, question)
                assert reason.startswith(f"the message cannot be read ({told}"), reason
                assert reason.isprintable()
            assert again() == signed
            logged = (coordination.folder / "node-0" / "node.log").read_text()
            assert all(line.isprintable() and re.match(r"\d{4}-| {4}|$", line) for line in logged.split("\n"))

            # What went wrong stays on the machine: it may quote the owner's rows.
            (coordination.folder / "fail").touch()
            assert again(round_number=2) == "its app raised ValueError; the node's own log says why"
            assert "row 17 is John Doe's" in (coordination.folder / "node-0" / "node.log").read_text()

            # An orderly end, and a start: the same bytes once more.
            family = node.family()
            node.send(signal.SIGTERM)
            assert node.ends() == 130
            until(lambda: not any(map(alive, family)), what="the SuperNode's end")
            node = coordination.start(0, **settings)
            node.says("connected to 127.0.0.1:")
            until(grid.get_node_ids, what="the node in the grid")
            assert again() == signed
            assert "from another base model was signed already" in again(base=base + 1)
            assert len(trainings()) == 3
    assert not bundled_code.exists(), f"bundled code ran: {bundled_code.read_text()}"


def test_nodes_whose_clocks_are_an_hour_off_take_part(new_coordination):
    coordination = new_coordination(rounds=1, clients=2)
    path = f"{HERE / 'wrong_clock'}:{HERE.parents[2]}"
    with coordination.registering():
        nodes = []
        for number, ahead_s in enumerate((3600, -3600)):
            coordination.fund(number)
            nodes.append(coordination.start(number, variables={"WRONG_CLOCK_S": str(ahead_s), "PYTHONPATH": path}))
        for node, side in zip(nodes, ("ahead of", "behind"), strict=True):
            assert re.search(rf"clock is 3[56]\d\d s {side} the coordinator's", node.says("this machine's clock is"))
            node.says("connected to 127.0.0.1:")
        with coordination.grid(nodes=2) as grid:
            coordination.world.run(None, grid=grid)
        for node in nodes:
            node.says("round 1: score ")
    assert set(coordination.world.reports[0].scores) == set(coordination.world.addresses)
