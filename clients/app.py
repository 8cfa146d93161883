"""The Flower ClientApp of a node: trains the task's model on the owner's shard and answers with a signed update.

torch is imported with the first message, so that a node that waits for one stays small.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from clients.keys.wallet import read_invite, wallet_of
from clients.privacy.spent import check_rows
from clients.published import known_before
from clients.shard import read_own_shard
from clients.signing import sign_updates
from fl.bundle.store import BundleStore
from fl.codec import Layout
from fl.errors import ConfigError
from fl.protocol import MASKED, RECORD
from fl.task.behaviour import HONEST, Behaviour, Known, read_behaviour
from fl.task.bounds import read_spec
from fl.task.data import DataConfig, Dataset, Federation, FileStyle, PartitionConfig, load_federation
from fl.task.held_arrays import Records, metrics_of, of_kind, received_model, record_of, reply
from fl.task.trust import Trust

if TYPE_CHECKING:
    from clients.workbench import Workbench
    from fl.task.spec import TaskSpec

app = ClientApp(mods=[sign_updates])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train for the spec's steps from the model in the message; answer with the trained arrays and two metrics.

    The node configuration names the `invite` that the owner accepted, in `trust` the packages whose models and losses its
    spec may name, and whose rows are trained on. A node of its own: the `shard` (a file or folder, written in the `style`,
    JSON of `fl client`'s settings; with `drop-unlabelled` rows without a label are left out) and the `threads` of training. A simulation: the `data` and `partition` settings
    (JSON), the `seed`, the `partition-id`, and optionally a `behaviour`. A client that does not work needs the `bundles` that the
    coordinator publishes (a folder or URL), with `reveals` if directions are among them round by round.
    """
    # In here and not above: see the module's docstring.
    behaviours = importlib.import_module("clients.behaviours")
    if "threads" in context.node_config:
        importlib.import_module("torch").set_num_threads(int(context.node_config["threads"]))
    rows = _rows_of(context)
    check_rows(rows.spec.private, rows=len(rows.data))
    behaviour = read_behaviour(str(context.node_config.get("behaviour", HONEST)))
    config = _config_of(message)
    arrays = next(iter(of_kind(message.content, ArrayRecord).values()))
    received = received_model(arrays, names=names_in(message))
    base, layout = received.vector, received.layout
    tools = rows.bench.tools()
    importlib.import_module("fl.task.model_vector").load_buffers(tools.model, received.arrays)
    number = config.round
    turn = behaviours.Turn(
        spec=rows.spec,
        tools=tools,
        number=rows.number,
        round=number,
        seed=rows.seed,
        known=_known(behaviour, context, number, base=base, layout=layout),
        rows=rows.of,
        proximal_mu=config.proximal_mu,
    )
    trained, loss = behaviours.play(behaviour, turn)
    content = Records(
        {
            "arrays": record_of(layout.unflatten(trained)),
            "metrics": metrics_of({"num-examples": len(rows.data.labels), "train-loss": loss}),
        }
    )
    return reply(content, message)


def answer_together(messages: Sequence[Message], contexts: Sequence[Context]) -> dict[int, Message]:
    """The answers of nodes of one process that can be trained in one batch, by place; the others are left to the app."""
    return importlib.import_module("clients.together").answer_together(messages, contexts)


def trains_together(spec: TaskSpec, shards: Sequence[Dataset], *, wanted: str) -> tuple[bool, str]:
    """Whether `answer_together` is to be used for a task, and why (see `clients.together`).

    Args:
        spec: Of the task.
        shards: Of the clients that this process holds.
        wanted: `true`, `false` or `auto`, as `engine.vectorised` says it.
    """
    return importlib.import_module("clients.together").trains_together(spec, shards, wanted=wanted)


# An engine that has all nodes in one process looks for these.
vars(app).update(answer_together=answer_together, trains_together=trains_together)


def names_in(message: Message) -> tuple[str, ...]:
    """The arrays that the message asks an update of, in order; none where it does not say."""
    asked = of_kind(message.content, ConfigRecord).get(RECORD)
    names = asked.get("names") if asked is not None else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


@dataclass(frozen=True, kw_only=True, eq=False)
class HonestWork:
    """What a node that does its work trains on in a round."""

    spec: TaskSpec
    data: Dataset
    seed: int
    proximal_mu: float


def honest_work(message: Message, context: Context) -> HonestWork | None:
    """What a node of a simulation trains on; None for one that does something other than honest training."""
    if message.metadata.message_type != "train" or MASKED in message.content.config_records:
        return None
    if str(context.node_config.get("behaviour", HONEST)) != HONEST:
        return None
    rows, config = _rows_of(context), _config_of(message)
    batch_seed = importlib.import_module("clients.behaviours").batch_seed
    seed = batch_seed(rows.seed, number=rows.number, round_number=config.round)
    return HonestWork(spec=rows.spec, data=rows.data, seed=seed, proximal_mu=config.proximal_mu)


@dataclass(frozen=True, kw_only=True)
class _RoundConfig:
    """What the strategy says of the round."""

    round: int
    proximal_mu: float  # FedProx's μ; 0 for none


def _config_of(message: Message) -> _RoundConfig:
    # Any: Flower's record holds lists too, which are refused here.
    told: Mapping[str, Any] = of_kind(message.content, ConfigRecord).get("config", ConfigRecord())
    return _RoundConfig(round=int(told.get("server-round", 0)), proximal_mu=float(told.get("proximal-mu", 0.0)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """What a node trains on, and what its random draws start from."""

    spec: TaskSpec
    bench: Workbench
    data: Dataset
    seed: int
    number: int  # tells this client's draws from the others'
    given: Callable[[int], Dataset]  # rows that an accomplice gave away, by its number

    def of(self, number: int) -> Dataset:
        """A client's rows: its own, or an accomplice's."""
        return self.data if number == self.number else self.given(number)


def _rows_of(context: Context) -> _Rows:
    settings = context.node_config
    invite = str(_setting(settings, "invite"))
    trust = Trust.of(str(settings.get("trust", "")))
    spec, bench = _spec(invite, trust), _bench(invite, trust)
    if "shard" in settings:
        data = _own_data(
            invite,
            str(settings["shard"]),
            str(settings.get("style", "{}")),
            bool(settings.get("drop-unlabelled", False)),
        )
        number = int(wallet_of(context).address, 16)
        return _Rows(spec=spec, bench=bench, data=data, seed=spec.seed, number=number, given=_not_given)
    number, seed = int(_setting(settings, "partition-id")), int(_setting(settings, "seed"))
    shard = partial(_partition, str(_setting(settings, "data")), str(_setting(settings, "partition")), seed)
    return _Rows(spec=spec, bench=bench, data=shard(number), seed=seed, number=number, given=shard)


def _not_given(number: int) -> Dataset:
    raise ConfigError(
        f"this node has its own rows and not those of client {number}; play accomplices with `fl run`, where each can be given the "
        "others' rows"
    )


def _known(behaviour: Behaviour, context: Context, number: int, *, base: NDArray[np.float32], layout: Layout) -> Known:
    """What the client goes by; one that works needs no more than its base model."""
    if not behaviour.looks_back:
        return Known(base=base)
    if "bundles" not in context.node_config:
        raise ConfigError(
            f"behaviour {behaviour.text!r} goes by what the coordinator publishes, and the node configuration lacks 'bundles'; set it "
            "to a folder or URL"
        )
    return known_before(
        number,
        base=base,
        layout=layout,
        account=wallet_of(context).address,
        source=BundleStore.at(str(context.node_config["bundles"])),
        reveals=bool(context.node_config.get("reveals", True)),
    )


def _setting(settings: Mapping[str, str | int | float | bool], key: str) -> str | int | float | bool:
    if key not in settings:
        raise ConfigError(f"the node configuration lacks {key!r}; see clients/app.py for what it needs")
    return settings[key]


@cache
def _spec(invite: str, trust: Trust) -> TaskSpec:
    return importlib.import_module("fl.task.spec").TaskSpec.from_json(read_invite(invite).spec, trust=trust)


@cache
def _own_data(invite: str, path: str, style: str, drop_unlabelled: bool) -> Dataset:
    spec = read_spec(read_invite(invite).spec)
    return read_own_shard(
        Path(path), spec=spec, style=FileStyle.of(json.loads(style)), drop_unlabelled=drop_unlabelled
    ).data


@cache
def _bench(invite: str, trust: Trust) -> Workbench:
    return importlib.import_module("clients.workbench").Workbench(_spec(invite, trust))


def _partition(data: str, partition: str, seed: int, number: int) -> Dataset:
    shards = _federation(data, partition, seed).shards
    if not 0 <= number < len(shards):
        raise ConfigError(f"partition-id is {number}, the data has shards 0 to {len(shards) - 1}")
    return shards[number].data


@lru_cache(maxsize=1)  # in one process all clients of a simulation share the loaded data
def _federation(data: str, partition: str, seed: int) -> Federation:
    return load_federation(DataConfig(**json.loads(data)), PartitionConfig(**json.loads(partition)), seed=seed)
