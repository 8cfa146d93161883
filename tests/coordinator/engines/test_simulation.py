"""An app under Flower's own simulation engine, which tells a node its partition and nothing else."""

import os
import subprocess
import sys

APP = """
import sys
import numpy as np, torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from clients import sign_updates
from fl import paying

X = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
Y = (X[:, 0] > 0).long()
server, client = ServerApp(), ClientApp(mods=[sign_updates])


def net():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


@server.main()
def main(grid: Grid, context: Context) -> None:
    model = net()
    strategy = FedAvg(fraction_evaluate=0.0)
    strategy = paying(strategy, model=model, loss=torch.nn.CrossEntropyLoss(), validation=(X[::3], Y[::3]), clients=2, rounds=2,
                      budget="100", simulate=True)
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=2)


@client.train()
def train(message: Message, context: Context) -> Message:
    model, part = net(), context.node_config["partition-id"]
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = X[1 + part :: 3], Y[1 + part :: 3]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    arrays = ArrayRecord(model.state_dict())
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": len(x)})}), reply_to=message)


run_simulation(server, client, num_supernodes=2, backend_config={"client_resources": {"num_cpus": 1}})
"""


def test_an_app_of_flowers_simulation_pays_its_partitions(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all rounds are on chain, and everybody is paid out:\npartition 0: " in done.stdout + done.stderr
    (folder,) = (tmp_path / "simulated").iterdir()
    assert sorted(path.name for path in (folder / "bundles").iterdir()) == ["round-0001", "round-0002"]
