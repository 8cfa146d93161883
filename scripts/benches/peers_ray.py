"""Flower's own simulation on Ray for the peers bench: `python peers_ray.py MNIST_FOLDER ROUNDS` prints the seconds of each round."""

from __future__ import annotations

import logging
import sys
import time
from itertools import pairwise

import peers_app
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

CLIENTS = 100


class Timed(FedAvg):
    """FedAvg that notes when each round begins."""

    begun: list[float]

    def configure_train(self, *arguments: object, **named: object):
        """A round begins."""
        self.begun.append(time.perf_counter())
        return super().configure_train(*arguments, **named)


def main() -> None:
    """Run, with one actor a core."""
    logging.disable(logging.INFO)
    path, rounds = sys.argv[1], int(sys.argv[2])
    server, ends = ServerApp(), []

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=CLIENTS)
        strategy.begun = ends
        model = peers_app.row_of("mlp_1", CLIENTS, path).spec.build_model()
        config = ConfigRecord({"row": "mlp_1", "path": path})
        strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=rounds + 1, train_config=config)
        ends.append(time.perf_counter())

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, peers_app.app, num_supernodes=CLIENTS, backend_config=resources)
    took = [end - begin for begin, end in pairwise(ends)][1:]
    print(" ".join(f"{seconds:.6f}" for seconds in took))


if __name__ == "__main__":
    main()
