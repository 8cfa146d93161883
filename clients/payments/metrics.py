"""A node's figures for Prometheus, on this machine only: `fl client … metrics=PORT`.

Everything is read from the node's folder, so a scrape neither waits for training nor disturbs it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clients.keys.ledger import FolderLedger
from clients.node.folder import NodeFolder
from fl.bundle.files import HEADER, BrokenBundle
from fl.bundle.format import read_leaves
from fl.errors import ConfigError, FairshareError
from fl.rewards import Leaf

_TOKEN, _SCORE, _WEIGHT = 10**18, 2**40, 2**32


class NoPrometheus(FairshareError):
    """The package that speaks Prometheus' format is not installed."""

    def __str__(self) -> str:
        return "metrics is set and prometheus_client is not installed; run `pip install 'fairshare[prometheus]'`"


class NodeMetrics:
    """What a node's folder tells, as a collector of prometheus_client."""

    def __init__(self, folder: NodeFolder, *, account: str, task_id: bytes) -> None:
        self._folder, self._account = folder, account
        self._ledger = FolderLedger(folder.path, task_id=task_id)
        self._leaves: dict[int, Leaf] = {}  # of posted rounds, which do not change

    def collect(self) -> Iterator[Any]:
        """What prometheus_client asks a collector for."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 (optional)

        self._look()
        last = self._ledger.last()
        yield GaugeMetricFamily(
            "fairshare_node_signed_round", "The last round signed for", value=last.round if last else 0
        )
        if last:
            yield GaugeMetricFamily("fairshare_node_training_seconds", "Of that round", value=last.seconds_training)
        receipts = len(self._ledger.receipts())
        yield GaugeMetricFamily("fairshare_node_receipts", "Rounds that the coordinator signed for", value=receipts)
        yield GaugeMetricFamily("fairshare_node_rounds", "Posted rounds that this node knows", value=len(self._leaves))
        if self._leaves:
            newest = self._leaves[max(self._leaves)]
            score = sum(leaf.score for leaf in self._leaves.values()) / _SCORE
            yield GaugeMetricFamily("fairshare_node_score", "Taken off the loss so far", value=score)
            yield GaugeMetricFamily("fairshare_node_round_score", "In the last round", value=newest.score / _SCORE)
            yield GaugeMetricFamily("fairshare_node_weight", "In the last round", value=newest.weight / _WEIGHT)
            yield GaugeMetricFamily("fairshare_node_earned_tokens", "So far", value=newest.cumulative / _TOKEN)

    def _look(self) -> None:
        number = max(self._leaves, default=0) + 1
        while (path := self._folder.round_path(number)).joinpath(HEADER).exists():
            try:
                own = [leaf for leaf in read_leaves(path) if leaf.account == self._account]
            except BrokenBundle:
                return  # the node tells its owner
            self._leaves |= {number: own[0]} if own else {}
            number += 1


@contextmanager
def serving_metrics(metrics: NodeMetrics, *, port: str) -> Iterator[int]:
    """Serve on loopback while the context lasts; yields the port.

    Args:
        port: As the owner wrote it; 0 takes a free one.
    Raises: NoPrometheus; ConfigError for a port that is none or is taken.
    """
    if importlib.util.find_spec("prometheus_client") is None:
        raise NoPrometheus
    if not (port.isascii() and port.isdecimal() and len(port) <= 5) or int(port) > 65535:
        raise ConfigError(f"metrics is {port!r}; write a port, such as metrics=9464")
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    try:
        server, thread = start_http_server(int(port), addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise ConfigError(f"metrics is {port}, which cannot be served ({error.strerror}); set another port") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
