"""A coordinator of real machines: opens its task or takes it up again, lets the clients' nodes in, and runs the rounds.

Everything that has to survive lies in one folder; a coordinator that is started again there goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from eth_account.signers.local import LocalAccount
from fastapi import APIRouter
from flwr.app import Array, ArrayRecord, MetricRecord
from starlette.types import ASGIApp

from fl.aggregation.selection import check_scorable
from fl.audit.evaluators.local import Evaluator
from fl.bundle.format import BrokenBundle, read_leaves
from fl.bundle.store import round_folder
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.deployment import Deployment
from fl.chain.enrolment import Enrolment
from fl.chain.errors import ChainError, ChainUnreachable, TokenTooLow
from fl.chain.escrow import Status
from fl.chain.inclusion import free_nonce
from fl.chain.invite import Invite
from fl.chain.json_file import write_json
from fl.chain.paid_task import PaidTask, TooFewClients
from fl.chain.rpc_url import carries_key, shown, with_key
from fl.chain.sender import connect
from fl.chain.whole_file import private_folder, set_aside
from fl.codec import model_hash
from fl.coordinator.config import RunConfig
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.prometheus import metrics_router
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.lifecycle.accounts import fund, roles_for
from fl.coordinator.lifecycle.close import close_when_final
from fl.coordinator.lifecycle.open import put_contracts, terms_of
from fl.coordinator.lifecycle.refuter import refuting_challenges
from fl.coordinator.lifecycle.retention import RetentionPolicy
from fl.coordinator.quorum.remote import RemoteQuorum
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.strategy import PayingStrategy
from fl.coordinator.run import ClientResult, FederationResult, Watcher, checked_spec, keep_reading, spec_of
from fl.coordinator.superlink.certificates import Tls, given_tls, own_tls
from fl.coordinator.superlink.grid import GridLost, open_grid
from fl.coordinator.superlink.node_registry import NodeRegistry
from fl.coordinator.superlink.process import SuperLink, running_superlink
from fl.coordinator.superlink.reconnect import wait_for_return
from fl.errors import ConfigError
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import MOST_BYTES, BadJson, object_of, read_json
from fl.rewards.tree import NO_UPDATE
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring
from fl.task.data import Federation, load_federation
from fl.task.model_vector import layout_of, sent_arrays, vector_of
from fl.task.spec import TaskSpec, rows_of_dataset
from fl.task.strategies import build_strategy

log = logging.getLogger(__name__)

DEVNET = "http://127.0.0.1:8545"  # where `fl devnet` listens
_NODES_EVERY_S = 1.0
_LAST_LOOK_S = 2.0  # for pages that are open to see the end
_OBJECT_SLACK = 4 << 20  # bytes, for names and metrics
_GRIDS = 5  # runs that a coordinator starts over before it gives up


@dataclass(kw_only=True)
class ServiceWatcher(Watcher):
    """What a view is told while the coordinator works."""

    on_invite: Callable[[Invite, Path], None] = lambda invite, path: None
    on_nodes: Callable[[Sequence[dict]], None] = lambda nodes: None  # account, node_id, online, last_seen of each node
    on_end: Callable[[], None] = lambda: None  # the task is over, and the gateway still answers


@dataclass(kw_only=True)
class Surfaces:
    """What else the gateway shows: made by the caller, since pages stand above this floor."""

    routers: Sequence[APIRouter] = ()
    pages: ASGIApp | None = None
    on_close: Callable[[], None] = lambda: None  # before the gateway stops, so that pages let go of who watches


def run_coordinator(
    config: RunConfig, *, folder: Path, watcher: ServiceWatcher, surfaces: Surfaces | None = None
) -> FederationResult:
    """Serve a task from its opening to its end; what it starts, it stops.

    Args:
        config: Checked.
        folder: Keeps everything; a folder that has an invite is taken up again.
        watcher: Told of each step.
        surfaces: Further routes and pages of the gateway.
    Raises: FairshareError with what to do.
    """
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    private_folder(folder)
    watcher.on_setup("reading the data")
    data = load_federation(config.data, config.partition, seed=config.seed)
    keep_reading(data, folder=folder, watcher=watcher)
    # What cannot be built, trained or scored shows before anything is escrowed.
    spec, _ = checked_spec(spec_of(config, data), data)
    game = _game(spec, data)
    check_scorable(build_strategy(spec.strategy, spec.strategy_arguments))
    PaidScoring(spec, game=game).check_clients(config.coordinator.clients)
    write_validation(folder / VALIDATION, data.validation)
    service = _Service(config=config, folder=folder, watcher=watcher, data=data, spec=spec)
    with ExitStack() as stack:
        service.open_task()
        service.listen(stack, surfaces or Surfaces())
        stack.enter_context(service.guarded())
        service.wait_for_clients()
        service.train()
        if config.coordinator.stay:
            service.see_it_through()
        watcher.on_end()
        time.sleep(_LAST_LOOK_S)
        return service.result


class _Service:
    """The steps of a coordinator, in order; each leaves what the next one needs."""

    def __init__(
        self, *, config: RunConfig, folder: Path, watcher: ServiceWatcher, data: Federation, spec: TaskSpec
    ) -> None:
        self.config, self.settings, self.folder = config, config.coordinator, folder
        self.watcher, self.data, self.spec = watcher, data, spec
        self.retention = RetentionPolicy(
            folder / "bundles", archive=self.settings.archive, keep=self.settings.keep, spec=spec
        )
        self.gas: dict[str, list[int]] = {}
        self.started = time.perf_counter()

    # ---- the task ----------------------------------------------------------------------------------------------------

    def open_task(self) -> None:
        """Find the folder's task on chain, or open it; a coordinator killed in between finds the one it opened."""
        self.watcher.on_setup("opening the chain")
        known = self.folder / "deployment.json"
        named = Path(self.config.chain.deployment) if self.config.chain.deployment else known
        deployment = Deployment.read(named) if named.exists() or named != known else None
        url = self.config.chain.url or (deployment.url if deployment else DEVNET)
        if not self.config.chain.public_url and carries_key(with_key(url)):
            raise ConfigError(
                f"{shown(with_key(url))} holds a key, and every client reads the invite; name a node that they may ask with "
                "chain.public_url=URL"
            )
        w3 = _reach(url, chain_id=self.config.chain.id)
        remote = self.settings.evaluators
        self.roles = roles_for(
            chain_id=w3.eth.chain_id,
            key=self.config.chain.key,
            folder=self.folder / "keys",
            evaluators=0 if remote else self.config.task.evaluators,
            clients=0,
        )
        fund(w3, self.roles)
        if deployment is None:
            deployment = put_contracts(w3, url=url, sponsor=self.roles.sponsor)
        self.deployment = replace(deployment, url=url)
        self.deployment.write(known)
        _, escrow, token = self.deployment.connect()

        self.watcher.on_setup("escrowing the budget")
        sponsor = self.roles.sponsor
        model = self.spec.build_model()
        # Bound to the folder, so that a second start finds the first one's task and two folders have two.
        salt = hashlib.sha256(f"{self.folder.resolve()}/{self.spec.to_json()}".encode()).digest()
        task_id = escrow.task_id(sponsor.address, salt)
        # What an earlier start sent may open the task yet: it is waited for.
        free_nonce(escrow.w3, sponsor.address, name="open")
        written = self.folder / "invite.json"
        if written.exists():
            self.task = PaidTask.from_invite(written, coordinator=self.roles.coordinator)
            self._check_same_task()
        elif escrow.has_task(task_id):
            self.task = PaidTask.attach(self.deployment, task_id=task_id, coordinator=self.roles.coordinator)
        else:
            terms = terms_of(
                self.config.task,
                spec=self.spec,
                validation=self.data.validation,
                base_model=model_hash(vector_of(model)),
                token=token.address,
                coordinator=self.roles.coordinator.address,
                evaluators=remote or [one.address for one in self.roles.evaluators],
                salt=salt,
            )
            self._hold(terms.budget, owner=self.roles.sponsor, purpose="task's budget")
            self.task, sent = PaidTask.open(
                self.deployment, terms=terms, sponsor=sponsor, coordinator=self.roles.coordinator
            )
            for name, one in sent.items():
                self.gas.setdefault(name, []).append(one.gas)
        state = self.task.state()
        self.over = state.status in (Status.HALTED, Status.CLOSED)
        if state.status == Status.OPEN:
            # Before anybody joins and trains: without its bond no task starts.
            self._hold(self.task.terms.bond, owner=self.roles.coordinator, purpose="coordinator's bond")

    def _check_same_task(self) -> None:
        if self.task.terms.spec_hash != self.spec.hash():
            raise ConfigError(
                f"{self.folder} holds a task with the spec 0x{self.task.terms.spec_hash.hex()[:16]}…, these settings make "
                f"0x{self.spec.hash().hex()[:16]}…; start it with the settings it was opened with, or set another "
                "coordinator.folder"
            )

    def _hold(self, amount: int, *, owner: LocalAccount, purpose: str) -> None:
        """Have the tokens to escrow: on a devnet anybody may mint them, elsewhere their owner brings them."""
        token = self.deployment.connect()[2]
        held = token.balance(owner.address)
        if held >= amount:
            return
        try:
            token.mint(owner.address, amount - held, account=owner)
        except ChainError as error:
            raise TokenTooLow(address=owner.address, balance=held, needed=amount, purpose=purpose) from error

    # ---- the network -------------------------------------------------------------------------------------------------

    def listen(self, stack: ExitStack, surfaces: Surfaces) -> None:
        """Start SuperLink and gateway, write the invite, and let in whoever joins."""
        self.watcher.on_setup("starting the SuperLink")
        here = [
            Evaluator(account=one, spec=self.spec, game=_game(self.spec, self.data)) for one in self.roles.evaluators
        ]
        self.quorum = RemoteQuorum(
            self.task.terms.evaluators, domain=self.task.domain, here=here, deadline_s=self.settings.evaluation
        )
        self.superlink: SuperLink | None = None
        if not self.over:
            self.superlink = stack.enter_context(running_superlink(self.folder / "superlink"))
        tls = self._tls()
        gateway = stack.enter_context(
            running_gateway(
                self.settings.host,
                self.settings.port,
                tls=tls,
                superlink=self.superlink,
                largest_request=_largest_object(self.spec),
                routers=[
                    archive_router(self.folder, task=self.task, quorum=self.quorum),
                    metrics_router(self.folder, turned_away=lambda: gateway.refused),
                    *surfaces.routers,
                ],
                pages=surfaces.pages,
            )
        )
        stack.callback(surfaces.on_close)
        name = self._names()[0]
        self.invite = replace(
            self.task.invite(url=self._public_url(), spec=self.spec.to_json()),
            gateway=f"https://{f'[{name}]' if ':' in name else name}:{self.settings.public_port or gateway.port}",
            ca=tls.ca,
        )
        self.invite.write(self.folder / "invite.json")
        self.watcher.on_invite(self.invite, self.folder / "invite.json")
        if self.superlink is not None:
            self.registry = NodeRegistry(self.superlink)
            stack.enter_context(self._looking_after_nodes())

    def guarded(self) -> AbstractContextManager[None]:
        """Answer false challenges, for as long as the context lasts."""
        return refuting_challenges(
            replace(self.invite, url=self.deployment.url),
            bundles=self.folder / "bundles",
            archive=self.settings.archive,
            account=self.roles.coordinator,
        )

    def _tls(self) -> Tls:
        if self.settings.certificate:
            ca = Path(self.settings.ca) if self.settings.ca else None
            return given_tls(Path(self.settings.certificate), Path(self.settings.certificate_key), ca=ca)
        return own_tls(self.folder / "tls", names=self._names())

    def _names(self) -> list[str]:
        if self.settings.names:
            return list(self.settings.names)
        # Without names it is for this machine, or for machines that know it by the address that it listens on.
        return ["127.0.0.1"] if self.settings.host in ("0.0.0.0", "::", "127.0.0.1") else [self.settings.host]

    def _public_url(self) -> str:
        # A paid node's URL carries its key: whoever has one names another for the clients with chain.public_url.
        return self.config.chain.public_url or self.deployment.url

    @contextmanager
    def _looking_after_nodes(self) -> Iterator[None]:
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(max(self.settings.poll, 0.1)):
                try:
                    self._look_after_nodes()
                except Exception as error:  # the chain may be away for a while; the rounds' own calls say for how long
                    log.info("could not look who joined: %s", error)

        thread = threading.Thread(target=look, name="registry", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=10)

    def _look_after_nodes(self) -> dict[str, Enrolment]:
        enrolments = self.task.enrolments()
        self.registry.follow(list(enrolments.values()), round_number=self.task.state().posted)
        accounts = self.registry.accounts(list(enrolments.values()))
        self.watcher.on_nodes(
            [
                {
                    "account": account,
                    "node_id": str(node.node_id),
                    "online": node.online,
                    "last_seen": node.last_seen,
                }
                for node in self.superlink.nodes()
                for account in accounts.get(node.node_id, ("",))
            ]
        )
        return enrolments

    # ---- the rounds --------------------------------------------------------------------------------------------------

    def wait_for_clients(self) -> None:
        """Wait until enough clients joined and their nodes are connected, or those of a task in its middle are back.

        Raises: TooFewClients.
        """
        state = self.task.state()
        if self.over or state.posted == state.rounds:
            return
        if state.status == Status.OPEN and not state.posted:
            self._wait_for_enrolment()
        else:
            self._wait_for_return(state.posted + 1)

    def _wait_for_enrolment(self) -> None:
        wanted, until = self.settings.clients, time.monotonic() + self.settings.enrolment
        told = None
        while True:
            joined = len(self._look_after_nodes())
            online = sum(node.online for node in self.superlink.nodes())
            if (joined, online) != told:
                told = (joined, online)
                self.watcher.on_setup(f"waiting for clients: {joined} of {wanted} joined, {online} connected")
            if joined >= wanted and online >= wanted:
                return
            if time.monotonic() > until:
                raise TooFewClients(seen=min(joined, online), expected=wanted, deadline_s=self.settings.enrolment)
            time.sleep(min(_NODES_EVERY_S, self.settings.poll))

    def _wait_for_return(self, number: int) -> None:
        def look() -> tuple[set[str], set[str]]:
            enrolments = self._look_after_nodes()
            accounts = self.registry.accounts(list(enrolments.values()))
            return (
                {account for account, one in enrolments.items() if one.weighs_in(number)},
                {
                    account
                    for node in self.superlink.nodes()
                    if node.online
                    for account in accounts.get(node.node_id, ())
                },
            )

        absent = wait_for_return(
            look,
            rejoin_s=self.settings.rejoin,
            poll_s=min(_NODES_EVERY_S, self.settings.poll),
            say=self.watcher.on_setup,
        )
        if absent:
            log.warning("going on with round %d without the nodes of %s", number, ", ".join(absent))

    def train(self) -> None:
        """All rounds that are not on chain yet, each on chain before the next one begins."""
        model = self.spec.build_model()
        test = ValidationGame(model, loss=self.spec.build_loss(), rows=rows_of_dataset(self.data.test))
        base = vector_of(model)
        test.load_statistics(_game(self.spec, self.data).measure_statistics(base))
        self.result = FederationResult(
            task_id=self.task.task_id,
            chain_id=self.deployment.chain_id,
            contract=self.task.escrow.address,
            token=self.task.token.address,
            terms=self.task.terms,
            spec=self.spec,
            initial=test.evaluate(base),
            parameters=len(base),
            validation_samples=len(self.data.validation),
            test_samples=len(self.data.test),
            gas=self.gas,
        )
        self._note_clients()
        self.watcher.on_task(self.result)
        if self.over:
            return
        layout = layout_of(model)

        def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord | None:
            if number:
                named = {name: array.numpy() for name, array in arrays.items()}
                test.load_statistics(named)
                vector = layout.flatten(named)
                self.result.tests.append(test.evaluate(vector))
                self.watcher.on_round(self.result.rounds[-1], self.result.tests[-1])
            return None

        for attempt in range(_GRIDS):
            try:
                with open_grid(
                    self.superlink,
                    round_deadline_s=self.settings.deadline,
                    on_reply=self.watcher.on_reply,
                ) as grid:
                    self._strategy(model).start(
                        grid,
                        ArrayRecord(
                            {
                                name: Array(one)
                                for name, one in sent_arrays(
                                    self.spec.build_model(), whole=self.spec.frozen is None
                                ).items()
                            }
                        ),
                        timeout=self.settings.deadline,
                        evaluate_fn=evaluate,
                    )
                return
            except GridLost as error:
                if attempt + 1 == _GRIDS:
                    raise
                log.warning("%s; going on with another run", error)

    def _strategy(self, model: torch.nn.Module) -> PayingStrategy:
        return PayingStrategy(
            build_strategy(self.spec.strategy, self.spec.strategy_arguments),
            task=self.task,
            spec=self.spec,
            game=_game(self.spec, self.data),
            quorum=self.quorum,
            bundles=self.folder / "bundles",
            seed=self.config.seed,
            read_clients=self.config.scorer.read_clients,
            await_nodes=self._wait_for_return,
            on_phase=self.watcher.on_phase,
            on_round=self._on_round,
        )

    def _on_round(self, report: RoundReport) -> None:
        for account, receipt in report.receipts.items():
            root = next(leaf.update_root for leaf in report.leaves if leaf.account == account)
            self._keep_receipt(account, report.round, root, receipt)
        self.gas.setdefault("post", []).append(report.gas)
        self.result.seconds["rounds"] = time.perf_counter() - self.started
        self._note_clients()
        self.result.rounds.append(report)
        self.retention.after_round()

    def _keep_receipt(self, account: str, number: int, root: bytes, receipt: bytes) -> None:
        path = self.folder / "receipts" / f"{account}.json"
        try:
            known = dict(object_of(read_json(read_file(path, most=MOST_BYTES))))
        except Absent:
            known = {}
        except (Unreadable, BadJson) as error:
            log.warning(
                "%s cannot be read (%s); it is now %s, and written anew from the bundles",
                path,
                error.problem,
                set_aside(path),
            )
            known = self._receipts_of(account, before=number)
        known[str(number)] = {"update_root": root.hex(), "receipt": receipt.hex()}
        write_json(path, known, mode=0o600)

    def _receipts_of(self, account: str, *, before: int) -> dict[str, object]:
        """The receipts of earlier rounds once more: what was taken into a round is in its leaves, and the signature is the same."""
        found = {}
        for past in range(1, before):
            try:
                leaves = read_leaves(self.folder / "bundles" / round_folder(past))
            except BrokenBundle as error:
                log.warning("no receipt of round %d is written anew: %s", past, error)
                continue
            for leaf in leaves:
                if leaf.account == account and leaf.update_root != NO_UPDATE:
                    receipt = self.task.receipt(round_number=past, client=account, update_root=leaf.update_root)
                    found[str(past)] = {"update_root": leaf.update_root.hex(), "receipt": receipt.hex()}
        return found

    def _note_clients(self) -> None:
        """Everybody on chain, in the order of joining; what their shards hold, only they know."""
        self.result.clients[:] = [
            ClientResult(
                number=number,
                name=f"{one.account[:6]}…{one.account[-4:]}",
                account=one.account,
                behaviour="honest",
                samples=None,
                class_counts=None,
                stake=one.stake,
            )
            for number, one in enumerate(self.task.enrolments().values())
        ]

    # ---- the end -----------------------------------------------------------------------------------------------------

    def see_it_through(self) -> None:
        """Serve until the last round's window is over, then close the task: the bond goes back to the coordinator."""
        self.watcher.on_setup("all rounds are on chain; serving until the challenge window is over")
        close_when_final(self.task, account=self.roles.coordinator)
        self.result.paid = self.task.state().paid
        for client in self.result.clients:
            client.claimed = self.task.escrow.claimed(self.task.task_id, client.account)
            client.balance = self.task.token.balance(client.account)


def _largest_object(spec: TaskSpec) -> int:
    """Bytes that one part of a node's answer may have: an update takes two a parameter, an app of one's own may send floats."""
    return _OBJECT_SLACK + 4 * len(vector_of(spec.build_model()))


def _game(spec: TaskSpec, data: Federation) -> ValidationGame:
    return ValidationGame(spec.build_model(), loss=spec.build_loss(), rows=rows_of_dataset(data.validation))


def _reach(url: str, *, chain_id: int | None):
    try:
        return connect(url, chain_id=chain_id)
    except ChainUnreachable as error:
        if url == DEVNET:
            raise ConfigError(
                f"no chain answers at {url}; start one with `fl devnet`, or name another with chain=URL"
            ) from error
        raise
