"""Ctrl-C in each part of a node's life: no process stays, and the same folder is taken up again."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

from fl.chain.tokens import tokens
from fl.task.model_vector import vector_of

HERE = Path(__file__).parent


@pytest.fixture
def interrupted(until, alive):
    """Presses Ctrl-C, as a terminal's owner does, and waits until nothing is left."""

    def press(node):
        family = node.family()
        node.send(signal.SIGINT)
        assert node.ends() == 130
        until(lambda: not any(map(alive, family)), what="the end of what it had started")
        assert node.said().endswith("fl client: interrupted; what it had started is stopped\n")
        assert "Traceback" not in node.said()
        return family

    return press


def test_a_node_is_interrupted_while_it_trains_while_it_waits_and_while_it_claims(
    new_coordination, interrupted, until, devnet, tmp_path
):
    coordination = new_coordination(rounds=1, clients=1, challenge_window=100)
    coordination.fund(0)
    world, address = coordination.world, coordination.world.clients[0].address
    settings = {
        "app": "slow_app:app",
        "variables": {"SLOW_APP_FOLDER": str(tmp_path), "PYTHONPATH": f"{HERE}:{HERE.parents[2]}"},
    }
    trained = tmp_path / "trained"
    np.save(tmp_path / "step.npy", world.downhill(0, 1, vector_of(world.spec.build_model())))
    with coordination.registering():
        node = coordination.start(0, **settings)
        node.says("connected to 127.0.0.1:")
        with coordination.grid(rejoin_s=140.0) as grid:
            alone = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
            playing = threading.Thread(target=world.run, args=(None, alone), kwargs={"grid": grid}, daemon=True)
            playing.start()
            try:
                until(trained.exists, what="the training")
                assert interrupted(node)
                node = coordination.start(0, **settings)
                until(lambda: len(trained.read_text().split()) == 2, what="the second training")
            finally:
                (tmp_path / "go").touch()
                playing.join(timeout=150)
        node.says("it is final after")
        assert interrupted(node)

    # The claim is on its way, and no block takes it in.
    devnet(world.w3, "evm_increaseTime", 200)
    devnet(world.w3, "evm_mine")
    devnet(world.w3, "evm_setAutomine", False)
    node = coordination.start(0, **settings)
    until(
        lambda: world.w3.eth.get_transaction_count(address, "pending") > world.w3.eth.get_transaction_count(address),
        what="the claim",
    )
    assert interrupted(node) == []
    devnet(world.w3, "evm_mine")
    devnet(world.w3, "evm_setAutomine", True)
    # As its coordinator does; a client ends its task itself when that stays away for half a minute.
    world.task.escrow.close(world.task.task_id, account=world.sponsor)
    node = coordination.start(0, **settings)
    assert node.ends() == 0
    earned = world.reports[0].pays[address]
    assert f"earned: {tokens(earned)} tokens, paid out" in node.said()
    assert world.escrow.claimed(world.task.task_id, address) == earned > 0
