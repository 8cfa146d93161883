"""The task of a coordinator's folder: found on chain, or opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from eth_account.signers.local import LocalAccount
from web3 import Web3

from fl.chain.deploying import put_contracts
from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.errors import ChainError, ChainUnreachable, TokenTooLow
from fl.chain.inclusion import free_nonce
from fl.chain.paid_task import PaidTask
from fl.chain.rpc_url import carries_key, shown, with_key
from fl.chain.sender import connect
from fl.chain.task_state import Status
from fl.codec import model_hash
from fl.coordinator.lifecycle.accounts import Roles, fund, gas_money, roles_for
from fl.coordinator.lifecycle.open import salt_under, terms_of
from fl.coordinator.result import note_gas
from fl.coordinator.service.setup import Setup
from fl.errors import ConfigError
from fl.task.model_vector import vector_of
from fl.task.spec import dataset_hash

DEVNET = "http://127.0.0.1:8545"  # where `fl devnet` listens


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenTask:
    """The task on chain, with the keys that it was opened with."""

    task: PaidTask
    deployment: Deployment
    roles: Roles
    over: bool  # it was closed or ended before this coordinator came
    gas: dict[str, list[int]]  # by operation, of what was sent


def open_task(setup: Setup) -> OpenTask:
    """Find the folder's task on chain, or open it; a coordinator killed in between finds the one it opened.

    Raises: ConfigError for a folder of another task, or an URL that would give a key away; TokenTooLow; ChainError.
    """
    setup.watcher.on_setup("opening the chain")
    deployment, roles = _reach_contracts(setup)
    setup.watcher.on_setup("escrowing the budget")
    gas: dict[str, list[int]] = {}
    task = _task_of(setup, deployment, roles, gas=gas)
    state = task.state()
    if state.status == Status.OPEN:
        # Before anybody joins and trains: without its bond no task starts.
        stakes = task.stakes_due(roles.evaluators)
        purpose = "coordinator's bond and its own evaluators' stakes" if stakes else "coordinator's bond"
        _hold(task.token, task.terms.bond + stakes, owner=roles.coordinator, purpose=purpose)
        for sent in task.stake_for(roles.evaluators):
            note_gas(gas, "stake_evaluator", sent)
    over = state.status in (Status.HALTED, Status.CLOSED)
    return OpenTask(task=task, deployment=deployment, roles=roles, over=over, gas=gas)


def _reach_contracts(setup: Setup) -> tuple[Deployment, Roles]:
    """The contracts of the folder, put on the chain where there are none, and the keys that work with them."""
    chain, known = setup.config.chain, setup.folder / "deployment.json"
    named = Path(chain.deployment) if chain.deployment else known
    deployment = Deployment.read(named) if named.exists() or named != known else None
    url = chain.url or (deployment.url if deployment else DEVNET)
    if not chain.public_url and carries_key(with_key(url)):
        raise ConfigError(
            f"{shown(with_key(url))} holds a key, and every client reads the invite; name a node that they may ask with "
            "chain.public_url=URL"
        )
    w3 = _reach(url, chain_id=chain.id)
    roles = roles_for(
        chain_id=w3.eth.chain_id,
        key=chain.key,
        folder=setup.folder / "keys",
        evaluators=0 if setup.settings.evaluators else setup.config.task.evaluators,
        clients=0,
    )
    if deployment is None:
        deployment = put_contracts(w3, url=url, account=roles.sponsor, along=gas_money(w3, roles))
    fund(w3, roles)
    deployment = replace(deployment, url=url)
    deployment.write(known)
    return deployment, roles


def _task_of(setup: Setup, deployment: Deployment, roles: Roles, *, gas: dict[str, list[int]]) -> PaidTask:
    _, escrow, token = deployment.connect()
    sponsor, spec = roles.sponsor, setup.spec
    # What an earlier start sent may open the task yet: it is waited for.
    free_nonce(escrow.w3, sponsor.address, name="open")
    if setup.invite.exists():
        task = PaidTask.from_invite(setup.invite, coordinator=roles.coordinator)
        _check_same_task(setup, task)
        return task
    terms = terms_of(
        setup.config.task,
        spec=spec,
        validation=dataset_hash(setup.data.validation),
        base_model=model_hash(vector_of(spec.build_model())),
        token=token.address,
        coordinator=roles.coordinator.address,
        evaluators=setup.settings.evaluators or [evaluator.address for evaluator in roles.evaluators],
        salt=bytes(32),
    )
    # Bound to the folder, so that a second start finds the first one's task and two folders have two.
    named = f"{setup.folder.resolve()}/{spec.to_json()}"
    salt, is_open = salt_under(escrow, named, terms=terms, sponsor=sponsor.address)
    if is_open:
        task_id = escrow.task_id(sponsor.address, salt)
        return PaidTask.attach(deployment, task_id=task_id, coordinator=roles.coordinator)
    terms = replace(terms, salt=salt)
    _hold(token, terms.budget, owner=sponsor, purpose="task's budget")
    task, sent = PaidTask.open(deployment, terms=terms, sponsor=sponsor, coordinator=roles.coordinator)
    for name, transaction in sent.items():
        note_gas(gas, name, transaction)
    return task


def _check_same_task(setup: Setup, task: PaidTask) -> None:
    if (seen := dataset_hash(setup.data.validation)) != task.terms.validation_hash:
        raise ConfigError(
            f"{setup.folder} holds a task whose validation rows have the hash 0x{task.terms.validation_hash.hex()[:16]}…, "
            f"these have 0x{seen.hex()[:16]}…; start it with the rows it was opened with, or set another coordinator.folder"
        )
    if task.terms.spec_hash != setup.spec.hash():
        raise ConfigError(
            f"{setup.folder} holds a task with the spec 0x{task.terms.spec_hash.hex()[:16]}…, these settings make "
            f"0x{setup.spec.hash().hex()[:16]}…; start it with the settings it was opened with, or set another "
            "coordinator.folder"
        )


def _hold(token: Token, amount: int, *, owner: LocalAccount, purpose: str) -> None:
    """Have the tokens to escrow: on a devnet anybody may mint them, elsewhere their owner brings them."""
    held = token.balance(owner.address)
    if held >= amount:
        return
    try:
        token.mint(owner.address, amount - held, account=owner)
    except ChainError as error:
        raise TokenTooLow(address=owner.address, balance=held, needed=amount, purpose=purpose) from error


def _reach(url: str, *, chain_id: int | None) -> Web3:
    try:
        return connect(url, chain_id=chain_id)
    except ChainUnreachable as error:
        if url == DEVNET:
            raise ConfigError(
                f"no chain answers at {url}; start one with `fl devnet`, or name another with chain=URL"
            ) from error
        raise
