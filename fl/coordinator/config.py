"""The configuration of a run, checked once at the edge: everything behind it trusts the object.

Plain dataclasses, because Hydra refuses to override a frozen schema, and without postponed annotations, because OmegaConf
reads the types themselves.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any

from fl.chain.tokens import wei
from fl.codec.address import is_checksummed
from fl.coordinator.lifecycle.patience import patience_of
from fl.errors import ConfigError
from fl.task.behaviour import HONEST, read_behaviour
from fl.task.data import DataConfig, PartitionConfig

_MOST_ROUNDS = 2**24 - 3
_MOST_SECONDS = 2**32 - 1
_ENGINES = ("local", "ray", "superlink")


@dataclass(kw_only=True)
class TaskConfig:
    """What clients do in a round, what is paid for it, and the deadlines. Amounts in tokens, times in seconds."""

    rounds: int = 10  # how many rounds the budget is spread over
    steps: int = 40  # local steps of a round, the same for every client
    batch_size: int = 32  # rows of one local step
    # Of these rows, how many pass the model at a time: their gradients are added up (accumulation), which takes less memory; 0: all.
    rows_at_once: int = 0
    # Of the local steps; if not set 0.2, or 0.05 for task.loss=mse, whose gradients have no bound.
    learning_rate: float | None = None
    momentum: float = 0.0  # of the local steps, 0 for none
    optimizer: str = "sgd"  # of the local steps: sgd or adam
    # cross_entropy, mse, huber, binary, multi_label, language_modelling, token_classification, preference, or an import path
    loss: str = "cross_entropy"
    trainable: str = "all"  # what travels and is paid: all, adapters, or name patterns such as 'classifier.*'
    block_bits: int = 16  # of an update's values on the wire: 16, or 8 with error feedback, a quarter of float32
    norm_cap: str = "10"  # a longer update is scaled down to this norm
    budget: str = "1000"  # tokens that all rounds together can pay
    # Tokens of the coordinator's own, which it loses if it is proven wrong or falls silent; the budget if not set. Rounds wait
    # where the pay that can still be proven wrong is more.
    bond: str | None = None
    # patience:N ends the task when the validation loss has not fallen for N rounds; the round under way then is the last one
    # and pays the whole budget.
    stop: str = ""
    may_stop: bool = False  # whether the sponsor may end the task early, which then pays the whole budget
    may_close_joining: bool = False  # whether the sponsor may close the joining, and open it again
    stake_per_sample: str = "1"  # tokens a client stakes for each sample of its shard
    max_stake: str = "100000"  # tokens; caps what one client can weigh
    # Tokens of each evaluator's own, without which its signature does not count, and which it loses if it signs what it could
    # have seen to be wrong; 0 asks for none.
    evaluator_stake: str = "0"
    evaluators: int = 1  # how many there are; each recomputes every round
    quorum: int = 1  # how many of them have to sign a round before it can be posted
    length: str = "median"  # median or capped: what a long update is held to beside norm_cap
    reveal: str = "round"  # round or end: when clients see the direction
    challenge_window: int = 3600  # how long a posted round can be proven wrong before it is paid from
    response_window: int = 3600  # how long the coordinator has to answer a challenge
    round_timeout: int = 86400  # after so long a silence anybody may end the task
    claim_period: int = 2592000  # how long clients may claim after the end; then the rest is the sponsor's

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "batch_size", "evaluators", "quorum", "challenge_window", "response_window",
                     "round_timeout", "claim_period"):  # fmt: skip
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"task.{name} is {value}; set 1 or more")
        for name, most in (("rounds", _MOST_ROUNDS), ("quorum", 255), ("challenge_window", _MOST_SECONDS),
                           ("response_window", _MOST_SECONDS), ("round_timeout", _MOST_SECONDS),
                           ("claim_period", _MOST_SECONDS)):  # fmt: skip
            if (value := getattr(self, name)) > most:
                raise ConfigError(f"task.{name} is {value}; set {most} or less, the contract counts no further")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"task.momentum is {self.momentum}; set 0 or more and below 1")
        if self.quorum > self.evaluators:
            raise ConfigError(
                f"task.quorum is {self.quorum} of task.evaluators {self.evaluators}; a header needs no more signatures "
                "than there are evaluators"
            )
        for name, choices in (
            ("optimizer", ("sgd", "adam")),
            ("reveal", ("round", "end")),
            ("length", ("median", "capped")),
            ("block_bits", (16, 8)),
        ):
            if (value := getattr(self, name)) not in choices:
                raise ConfigError(f"task.{name} is {value!r}; set {' or '.join(map(str, choices))}")
        self.may_stop = bool(patience_of(self.stop)) or self.may_stop
        for name in ("budget", "bond", "stake_per_sample", "max_stake", "evaluator_stake"):
            wei(getattr(self, name) or "0", setting=f"task.{name}")
        for name in ("budget", "stake_per_sample", "max_stake"):
            if wei(getattr(self, name), setting=f"task.{name}") == 0:
                raise ConfigError(f"task.{name} is 0; set it above 0")
        if wei(self.stake_per_sample, setting="task.stake_per_sample") > wei(self.max_stake, setting="task.max_stake"):
            raise ConfigError(
                f"task.stake_per_sample is {self.stake_per_sample} and task.max_stake {self.max_stake}; nobody could stake "
                "for one sample, so raise max_stake"
            )

    @property
    def rate(self) -> float:
        """The learning rate that was set, or the one that suits the loss."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.05 if self.loss == "mse" else 0.2


@dataclass(kw_only=True)
class ModelConfig:
    """Which model: an import path and its arguments."""

    path: str = "fl.task.models:MLP"
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class StrategyConfig:
    """Which Flower strategy aggregates, and its arguments."""

    name: str = "fedavg"
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class ScorerConfig:
    """How updates are scored: the direction is provable on chain, any other rule is attested by the evaluators."""

    name: str = "direction"
    arguments: dict[str, Any] = field(default_factory=dict)  # the settings of another rule
    nodes: int = 3  # Gauss–Legendre nodes of the direction
    tolerance: float = 1e-3  # relative L2 by which an evaluator's direction, or attested scores, may differ
    public_rounds: int = 6  # last rounds whose steps and directions belong to nobody and pay nobody; 0: none
    public_gradients: int = 7  # on half of the validation rows, that the search for the public step may ask for; from round 3 on twice as many
    duplicate_cosine: str | None = None  # updates whose cosine reaches it share the weight of one, such as 0.98
    # Rounds of at most so many clients are read after scoring: standard errors, pairs not told apart, scores by class. A
    # client costs about three evaluations; 0 reads none.
    read_clients: int = 32

    def __post_init__(self) -> None:
        if (self.name, self.arguments) != ("direction", {}):
            # Tells an unknown name, or a setting that the rule does not have; the rules need torch, which takes seconds to import.
            importlib.import_module("fl.scoring.scorer").build_scorer(self.name, self.arguments)
        if not 1 <= self.nodes <= 64:
            raise ConfigError(f"scorer.nodes is {self.nodes}; set 1 to 64")
        if not 0 < self.tolerance < 1:
            raise ConfigError(f"scorer.tolerance is {self.tolerance}; set it above 0 and below 1")
        if self.read_clients < 0:
            raise ConfigError(f"scorer.read_clients is {self.read_clients}; set 0 or more")


@dataclass(kw_only=True)
class EngineConfig:
    """What carries Flower's messages, and the ClientApp at the other end."""

    name: str = "local"
    client_app: str = "clients.app:app"
    # Torch threads; 0 for torch's own choice. One by default: batches are small, and on a machine that has other work
    # two threads waiting for each other took LeNet's 50 steps from 0.2 s to 8 s.
    threads: int = 1
    workers: str = (
        "auto"  # local: processes that train at the same time, with the same bits for any number; auto: one a core
    )
    # local: whether clients of one shape are trained in one batch, where the app can: true, false, or auto, which tries it. The last
    # bits of a float are others then, and the task's spec says so.
    vectorised: str = "false"
    address: str | None = None  # ray: of a cluster, host:port or auto; started on this machine if not set
    cpus: float = 1.0  # ray: cores of one worker, of which there are as many as fit
    gpus: float = 0.0  # ray: GPUs of one worker

    def __post_init__(self) -> None:
        if self.name not in _ENGINES:
            raise ConfigError(f"engine.name is {self.name!r}; choose {', '.join(_ENGINES)}")
        if self.threads < 0:
            raise ConfigError(f"engine.threads is {self.threads}; set 1 or more, or 0 for torch's own choice")
        self.workers, self.vectorised = str(self.workers).lower(), str(self.vectorised).lower()
        if self.workers != "auto" and not (self.workers.isdigit() and int(self.workers) >= 1):
            raise ConfigError(f"engine.workers is {self.workers!r}; set auto, or 1 or more")
        if self.vectorised not in ("true", "false", "auto"):
            raise ConfigError(f"engine.vectorised is {self.vectorised!r}; set true, false or auto")
        if self.workers not in ("auto", "1") and self.threads != 1:
            raise ConfigError(
                f"engine.workers is {self.workers} and engine.threads is {self.threads}; a worker has one thread, so set "
                "engine.threads=1, or engine.workers=1"
            )
        if self.name != "local" and (self.workers, self.vectorised) != ("auto", "false"):
            raise ConfigError(f"engine.workers and engine.vectorised are of engine=local, this is {self.name}")
        if not self.cpus > 0:
            raise ConfigError(f"engine.cpus is {self.cpus}; set it above 0, a worker computes on something")
        if not self.gpus >= 0:
            raise ConfigError(f"engine.gpus is {self.gpus}; set 0 or more")
        if self.name != "ray" and (self.address, self.cpus, self.gpus) != (None, 1.0, 0.0):
            raise ConfigError(f"engine.address, engine.cpus and engine.gpus are of engine=ray, this is {self.name}")


@dataclass(kw_only=True)
class PrivacyConfig:
    """Who may see what of an update: masked sums, noise, and the budget of it."""

    masked: bool = False  # whether coordinator and evaluators see sum and scores alone
    threshold: int = 0  # holders that give a client's seeds back; 0: two thirds of them, and one
    neighbours: int = 0  # that a client shares masks with; 0: everybody up to 32 clients, then 8 ⌈log₂ n⌉
    projections: int = 64  # random signs by which a masked length is bounded; 0: not at all
    # none | client: normal noise on each update, so that no client's part can be told from the rest | rows: on the gradients of each
    # step of training, so that no row's can
    noise: str = "none"
    epsilon: float | None = None  # what all rounds together may spend; finds the multiplier
    delta: str = "1e-5"  # of that budget; well below one over the clients, or rows, that it protects
    multiplier: str | None = None  # of the noise, in place of epsilon: its deviation over the sensitivity
    clip: str = (
        "1"  # length that an update, or with noise on rows the gradient of each row, is held to before its noise
    )
    rows: int = 0  # with noise on rows: how many a client has at least; 0: as many as the smallest shard of a run

    def __post_init__(self) -> None:
        if self.noise != "none" and (self.epsilon is None) == (self.multiplier is None):
            raise ConfigError(
                f"privacy.noise is {self.noise}, privacy.epsilon {self.epsilon} and privacy.multiplier {self.multiplier}; set "
                "one of the two"
            )
        if self.noise == "none" and (self.epsilon is not None or self.multiplier is not None):
            raise ConfigError(
                "privacy.epsilon and privacy.multiplier belong to a noise; set privacy=dp or privacy=dpsgd"
            )
        if self.epsilon is not None and not self.epsilon > 0:
            raise ConfigError(f"privacy.epsilon is {self.epsilon}; set it above 0, such as 8")


@dataclass(kw_only=True)
class ChainConfig:
    """Which chain, and who signs."""

    name: str = "anvil"  # anvil: test keys and a chain that is started if none is named; rpc: any chain, keystores
    url: str | None = None  # of a running node
    public_url: str | None = None  # what `fl coordinator` names to its clients, where url is for itself alone
    id: int | None = None  # refuse any other chain
    deployment: str | None = None  # file of contracts that are there already; deploys anew if not set
    key: str | None = None  # keystore of the sponsor and coordinator; on anvil a published test key if not set

    def __post_init__(self) -> None:
        if self.name not in ("anvil", "rpc"):
            raise ConfigError(f"chain.name is {self.name!r}; choose anvil or rpc")
        if self.name == "rpc" and not self.url:
            raise ConfigError("chain.url is not set; name the node, as in chain=rpc chain.url=http://127.0.0.1:8545")
        if self.name == "rpc" and not self.key:
            raise ConfigError(
                "chain.key is not set; make a keystore with `fl key path=sponsor.json` and set chain.key to it"
            )


@dataclass(kw_only=True)
class AttackConfig:
    """Which clients do something other than honest work: `3:label_flip:0.5` by number, or `ring:2,5`, which names its own."""

    behaviours: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        known: set[int] = set()
        for text in self.behaviours:
            named = set(_played_by(text))
            if twice := known & named:
                raise ConfigError(
                    f"attack.behaviours has client {min(twice)} twice; join what one client does with +, as in 3:lazy:5+scale:2"
                )
            known |= named

    def of(self, number: int) -> str:
        """The behaviour of a client, honest by default."""
        return next(
            (played for text in self.behaviours for client, played in _played_by(text).items() if client == number),
            HONEST,
        )

    def check_clients(self, clients: int) -> None:
        """Raises: ConfigError for a client that the data does not make."""
        for text in self.behaviours:
            for number, played in _played_by(text).items():
                for named in (number, read_behaviour(played).copied or 0):
                    if named >= clients:
                        raise ConfigError(f"attack.behaviours has {text!r}, the data makes clients 0 to {clients - 1}")


def _played_by(text: str) -> dict[int, str]:
    """Clients and what they do, of one entry."""
    number, _, behaviour = text.partition(":")
    if number.isdigit() and behaviour:
        read = read_behaviour(behaviour)
        if read.members:
            raise ConfigError(f"attack.behaviours has {text!r}; write {behaviour} alone, its clients stand in it")
        if read.copied == int(number):
            raise ConfigError(f"attack.behaviours has {text!r}, which copies itself; name another client")
        return {int(number): behaviour}
    if text.startswith(("ring:", "opposite:")):
        return dict.fromkeys(read_behaviour(text).members, text)
    raise ConfigError(
        f"attack.behaviours has {text!r}; write CLIENT:BEHAVIOUR, such as 3:label_flip:0.5 or 5:replay_step, or ring:2,5"
    )


@dataclass(kw_only=True)
class CoordinatorConfig:
    """Where `fl coordinator` is reached, whom it waits for, and what it keeps; `fl run` reads none of it. Times in seconds."""

    folder: str = "coordinator"  # everything that has to survive: bundles, keys, certificates, invite
    description: str = ""  # what the task is for, in words for its clients; its name is `name`
    host: str = "0.0.0.0"  # address of this machine to listen on
    port: int = 8443  # TCP port of the gateway: nodes, page and API; 0 takes a free one
    names: list[str] = field(
        default_factory=list
    )  # host names or addresses that nodes reach it by; the first is in the invite
    public_port: int | None = None  # the port that the invite names, where a proxy in front listens on another one
    certificate: str | None = None  # own TLS certificate instead of the private authority that is made, with its key
    certificate_key: str | None = None  # PEM file of that certificate's private key
    ca: str | None = None  # PEM of the own certificate's authority, unless every system trusts it
    clients: int = 2  # how many have to have joined, and be connected, before round 1
    enrolment: float = 604800.0  # how long it waits for that many clients
    rejoin: float = 90.0  # how long nodes have to come back, once the first one is, when all were gone
    deadline: float = 600.0  # how long a round waits for updates
    evaluation: float = 600.0  # how long a round waits for evaluators on other machines
    evaluators: list[str] = field(
        default_factory=list
    )  # addresses of those on other machines; without any, all are in this process
    poll: float = 1.0  # between two looks at the chain for who joined
    # How long it serves: until the clients have fetched pay and stakes (claims), the task is closed (closed), or the last
    # round is posted (rounds).
    stay: str = "claims"
    archive: str | None = None  # store that takes a copy of every bundle: a folder, or a URL such as s3://bucket/task
    keep: int = 0  # last rounds whose models and updates stay in the folder, 0 for all; leaves and headers always stay

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"coordinator.port is {self.port}; set 1 to 65535, or 0 for a free one")
        for name in ("clients", "enrolment", "rejoin", "deadline", "evaluation", "poll"):
            if (value := getattr(self, name)) <= 0:
                raise ConfigError(f"coordinator.{name} is {value}; set it above 0")
        if self.stay not in ("claims", "closed", "rounds"):
            raise ConfigError(f"coordinator.stay is {self.stay!r}; set claims, closed or rounds")
        if self.keep < 0:
            raise ConfigError(f"coordinator.keep is {self.keep}; set 1 or more rounds, or 0 to keep all")
        if self.keep and not self.archive:
            raise ConfigError(
                f"coordinator.keep is {self.keep}, which drops what a false challenge of an older round is refuted with; "
                "set coordinator.archive too, which takes a copy first"
            )
        if (self.certificate is None) != (self.certificate_key is None):
            raise ConfigError(
                "coordinator.certificate and coordinator.certificate_key belong together; set both or none"
            )
        for evaluator in self.evaluators:
            if not is_checksummed(evaluator):
                raise ConfigError(f"coordinator.evaluators has {evaluator!r}; write addresses as `fl key` prints them")


@dataclass(kw_only=True)
class RunConfig:
    """A whole run."""

    name: str = "run"  # goes into the run's folder name
    seed: int = 0  # fixes data split, initial weights, batches: the same seed pays the same
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    coordinator: CoordinatorConfig = field(default_factory=CoordinatorConfig)
    loggers: list[str] = field(default_factory=list)  # tools that get the figures of each round: tensorboard, mlflow

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; set 0 or more")
        remote = self.coordinator.evaluators
        if remote and len(set(remote)) != self.task.evaluators:
            raise ConfigError(
                f"task.evaluators is {self.task.evaluators} and coordinator.evaluators names {len(set(remote))} accounts; set "
                "task.evaluators to their number"
            )
