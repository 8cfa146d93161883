"""Deal rows to clients: pure functions of labels, or groups, and a generator.

| way | shards | what it is for |
|---|---|---|
| iid | equal sizes, same mixture of classes | the easy case |
| dirichlet | every class split at random, so sizes and mixtures differ | the usual benchmark of skew |
| sizes | given ratios, same mixture | does pay follow size |
| labels | few classes each | the hard case |
| natural | the client that the rows came with | real federations |

Every function returns one ascending array of row indices per client. No row goes to two clients, and every row goes
to one, except where `by_labels` says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.config import PartitionConfig
from fl.task.data.errors import DataError
from fl.task.data.holdout import apportion

DRAWS = 100  # of a Dirichlet split, before it is refused

Rows = list[NDArray[np.int64]]


def deal(
    labels: NDArray[np.int64],
    *,
    config: PartitionConfig,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
    group_names: Sequence[str] = (),
) -> tuple[list[str], Rows]:
    """Names and rows of all clients, as the settings say.

    Args:
        labels: Shape (N,).
        config: Which way, and its numbers.
        rng: Draws what is random.
        groups: The natural client of each row, an index into group_names, shape (N,); None if there is none.
        group_names: Names of the natural clients.
    Raises: DataError if there are fewer rows than clients, or somebody would get fewer than min_samples.
    """
    if config.name == "natural":
        shards = by_group(groups, count=len(group_names))
        if config.clients not in (0, len(shards)):
            raise DataError(
                seen=f"the data come with {len(shards)} natural clients, partition.clients is {config.clients}",
                expected="the same number",
                fix=f"set partition.clients to {len(shards)}, or to 0 to take as many as there are",
            )
        names = list(group_names)
    else:
        clients = config.clients or len(config.sizes)
        if len(labels) < clients * config.min_samples:
            raise DataError(
                seen=f"{plural(len(labels), 'row')} for {plural(clients, 'client')}",
                expected=f"at least {config.min_samples} for each (partition.min_samples)",
                fix="lower partition.clients, data.validation or data.test, or raise data.limit",
            )
        if config.name == "iid":
            shards = iid(len(labels), clients=clients, rng=rng)
        elif config.name == "sizes":
            shards = by_sizes(len(labels), sizes=config.sizes, rng=rng)
        elif config.name == "labels":
            shards = by_labels(labels, clients=clients, labels_per_client=config.labels_per_client, rng=rng)
        else:
            shards = dirichlet(labels, clients=clients, alpha=config.alpha, min_samples=config.min_samples, rng=rng)
        names = [f"client-{place}" for place in range(clients)]
    for name, rows in zip(names, shards, strict=True):
        if len(rows) < config.min_samples:
            raise DataError(
                seen=f"{name} would get {plural(len(rows), 'row')} with partition={config.name}",
                expected=f"at least {config.min_samples} (partition.min_samples)",
                fix="lower data.validation, data.test or partition.min_samples, raise data.limit, or use fewer clients",
            )
    return names, shards


def iid(count: int, *, clients: int, rng: np.random.Generator) -> Rows:
    """Equal shards of rows drawn at random; sizes differ by at most one.

    Args:
        count: Number of rows N.
        clients: Number of shards C.
        rng: Draws the rows.
    """
    return [np.sort(rows) for rows in np.array_split(rng.permutation(count), clients)]


def by_sizes(count: int, *, sizes: Sequence[float], rng: np.random.Generator) -> Rows:
    """Shards in the ratio of the sizes, of rows drawn at random.

    Args:
        count: Number of rows N.
        sizes: One number above 0 per client, in any one unit.
        rng: Draws the rows.
    Raises: DataError if a size is not above 0.
    """
    if not sizes or min(sizes) <= 0:
        raise DataError(
            seen=f"sizes {list(sizes)}", expected="one number above 0 per client", fix="set partition.sizes=[1,2,3]"
        )
    ends = np.cumsum(apportion(count, weights=np.array(sizes, dtype=np.float64)))
    return [np.sort(rows) for rows in np.split(rng.permutation(count), ends[:-1])]


def dirichlet(
    labels: NDArray[np.int64], *, clients: int, alpha: float, rng: np.random.Generator, min_samples: int = 1
) -> Rows:
    """Split each class over the clients in proportions drawn from a symmetric Dirichlet distribution.

    Both sizes and mixtures of classes differ. Drawn again as a whole until everybody holds enough rows.

    Args:
        labels: Shape (N,).
        clients: Number of shards C.
        alpha: Concentration, above 0: at 0.1 most of a class goes to one client, at 100 shards are alike.
        rng: Draws proportions and rows.
        min_samples: Rows that everybody must get.
    Raises: DataError if alpha is not above 0, or none of 100 draws gives everybody enough.
    Source: Yurochkin et al. 2019, section 4, arXiv:1905.12022, which splits each class over the clients as here; Hsu
        et al. 2019, section 3.1, arXiv:1909.06335, draws a mixture of classes per client, at equal sizes.
    """
    if not alpha > 0:
        raise DataError(seen=f"alpha {alpha}", expected="a number above 0", fix="set partition.alpha=0.5")
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(DRAWS):
        shards: list[list[NDArray[np.int64]]] = [[] for _ in range(clients)]
        for rows in classes:
            ends = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * len(rows)
            parts = np.split(rng.permutation(rows), np.minimum(np.round(ends), len(rows)).astype(np.int64))
            for shard, part in zip(shards, parts, strict=True):
                shard.append(part)
        dealt = [np.sort(np.concatenate(shard)) for shard in shards]
        if min(map(len, dealt)) >= min_samples:
            return dealt
    raise DataError(
        seen=f"none of {DRAWS} draws of Dirichlet({alpha:g}) deals {plural(clients, 'client')} {plural(min_samples, 'row')} each, "
        f"out of {len(labels)}",
        expected="one draw that does",
        fix="raise partition.alpha, or lower partition.min_samples or partition.clients",
    )


def by_labels(labels: NDArray[np.int64], *, clients: int, labels_per_client: int, rng: np.random.Generator) -> Rows:
    """Give every client rows of a few classes only.

    The classes, in random order, are dealt like cards, so every class is held by somebody if
    clients x labels_per_client is at least the number of classes; otherwise the rows of classes that nobody holds
    are left out. A class is shared equally among its holders.

    Args:
        labels: Shape (N,).
        clients: Number of shards C.
        labels_per_client: Different classes that each client holds, at most as many as occur.
        rng: Draws the order of the classes, and the rows.
    Raises: DataError if there are not that many classes.
    Source: the pathological split of McMahan et al. 2017, section 3, arXiv:1602.05629, with whole classes dealt
        instead of sorted slices, so that nobody holds more classes than meant.
    """
    classes = rng.permutation(np.unique(labels))
    if not 1 <= labels_per_client <= len(classes):
        raise DataError(
            seen=f"{labels_per_client} classes per client",
            expected=f"from 1 to the {len(classes)} classes that occur",
            fix="set partition.labels_per_client accordingly",
        )
    hands = np.arange(clients * labels_per_client) % len(classes)
    shards: list[list[NDArray[np.int64]]] = [[] for _ in range(clients)]
    for place, label in enumerate(classes):
        holders = np.flatnonzero(hands == place) // labels_per_client
        rows = rng.permutation(np.flatnonzero(labels == label))
        if holders.size:
            for holder, part in zip(holders, np.array_split(rows, len(holders)), strict=True):
                shards[holder].append(part)
    return [np.sort(np.concatenate(shard)) for shard in shards]


def by_group(groups: NDArray[np.int64] | None, *, count: int) -> Rows:
    """Leave the rows with the client that they came with.

    Args:
        groups: The client of each row, 0 to count - 1, shape (N,).
        count: Number of clients.
    Raises: DataError if the data do not say which client a row came with.
    """
    if groups is None:
        raise DataError(
            seen="data that do not say which client a row came with",
            expected="data=folder with a file per client, or data=csv with data.group=COLUMN",
            fix="use them, or another partition: iid, dirichlet, sizes, labels",
        )
    return [np.flatnonzero(groups == client) for client in range(count)]
