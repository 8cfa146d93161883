"""Who joins a run on one machine: a wallet for each shard, or several for one that its owner splits."""

from __future__ import annotations

from dataclasses import dataclass

from fl.coordinator.config import AttackConfig
from fl.errors import ConfigError
from fl.plain_text import plural
from fl.task.behaviour import read_behaviour
from fl.task.data import Dataset, Federation


@dataclass(frozen=True, kw_only=True, eq=False)
class Wallet:
    """One account that joins, and what stands behind it."""

    number: int  # among all wallets, from 0
    name: str
    shard: int  # whose rows it trains on
    behaviour: str
    rows: Dataset  # those that it stakes for


def wallets_of(federation: Federation, attack: AttackConfig) -> list[Wallet]:
    """All wallets of a run, in the order of their shards.

    The wallets of a shard that is split share its rows between them for their stakes, and each sends what the whole shard trained.

    Raises: ConfigError for a behaviour of a client that there is not, or a shard with fewer rows than wallets.
    """
    attack.check_clients(len(federation.shards))
    found: list[Wallet] = []
    for shard, own in enumerate(federation.shards):
        text = attack.of(shard)
        parts = read_behaviour(text).wallets
        if len(own.data) < parts:
            raise ConfigError(
                f"client {shard} is to be split over {parts} wallets and has {plural(len(own.data), 'row')}; name no more wallets than rows"
            )
        for part in range(parts):
            rows = Dataset(features=own.data.features[part::parts], labels=own.data.labels[part::parts])
            name = own.name if parts == 1 else f"{own.name}/{part + 1}"
            found.append(Wallet(number=len(found), name=name, shard=shard, behaviour=text, rows=rows))
    return found
