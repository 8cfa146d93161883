"""Who is who in a run on one machine: sponsor, coordinator, evaluators and clients, each with a key of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from web3 import Web3

from fl.chain.accounts import anvil_account, ask_password, create_keystore, open_keystore
from fl.chain.errors import NoFunds
from fl.chain.sender import transfer_ether

# Enough for a client's join and an evaluator that posts nothing, at devnet and testnet prices.
_GAS_MONEY = 10**16
_TRANSFER_GAS = 21_000


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The accounts of a run."""

    sponsor: LocalAccount
    coordinator: LocalAccount
    evaluators: tuple[LocalAccount, ...]  # ascending by address, as the contract wants them
    clients: tuple[LocalAccount, ...]
    client_keys: tuple[dict[str, str | int], ...]  # what a client's node configuration says of its key

    @staticmethod
    def anvil_accounts(*, evaluators: int, clients: int) -> int:
        """How many test accounts a run on Anvil takes."""
        return 2 + evaluators + clients


def anvil_roles(*, chain_id: int, evaluators: int, clients: int) -> Roles:
    """Anvil's test accounts, in order.

    Args:
        chain_id: Of the chain.
        evaluators: How many.
        clients: How many.
    Raises: TestKeysElsewhere unless the chain is 31337.
    """
    accounts = [
        anvil_account(index, chain_id=chain_id)
        for index in range(Roles.anvil_accounts(evaluators=evaluators, clients=clients))
    ]
    first_client = 2 + evaluators
    return Roles(
        sponsor=accounts[0],
        coordinator=accounts[1],
        evaluators=tuple(sorted(accounts[2:first_client], key=lambda account: int(account.address, 16))),
        clients=tuple(accounts[first_client:]),
        client_keys=tuple({"anvil-account": first_client + number} for number in range(clients)),
    )


def keystore_roles(key: Path, *, folder: Path, evaluators: int, clients: int) -> Roles:
    """The sponsor's keystore, which is the coordinator's too, and keystores of the others in `folder`, made if absent.

    All have the sponsor's password.

    Args:
        key: File of the sponsor's keystore.
        folder: Takes the keystores of the others, made where they are not.
        evaluators: How many.
        clients: How many.
    Raises: KeystoreError.
    """
    password = ask_password(key)
    sponsor = open_keystore(key, password=password)

    def kept(name: str) -> tuple[LocalAccount, Path]:
        path = folder / f"{name}.json"
        known = path.exists()
        return (open_keystore if known else create_keystore)(path, password=password), path

    owners = [kept(f"client-{number}") for number in range(clients)]
    signers = [kept(f"evaluator-{number}")[0] for number in range(evaluators)]
    return Roles(
        sponsor=sponsor,
        coordinator=sponsor,
        evaluators=tuple(sorted(signers, key=lambda evaluator: int(evaluator.address, 16))),
        clients=tuple(account for account, _ in owners),
        client_keys=tuple({"keystore": str(path.resolve())} for _, path in owners),
    )


def fund(w3: Web3, roles: Roles) -> None:
    """Give every account that has no ETH some for gas, from the sponsor.

    Raises: NoFunds, before anything is sent, if the sponsor has not enough for all of them.
    """
    held, chain_id = w3.eth.get_balance(roles.sponsor.address), w3.eth.chain_id
    if held == 0:
        raise NoFunds(address=roles.sponsor.address, chain_id=chain_id)
    needy = _without_ether(w3, roles)
    if held < (needed := _cost(w3, len(needy))):
        purpose = f"sending ETH for gas to {len(needy)} accounts"
        raise NoFunds(address=roles.sponsor.address, chain_id=chain_id, held=held, needed=needed, purpose=purpose)
    for address in needy:
        transfer_ether(w3, account=roles.sponsor, to=address, amount=_GAS_MONEY)


def gas_money(w3: Web3, roles: Roles) -> int:
    """Wei of ETH that `fund` takes from the sponsor, at most."""
    return _cost(w3, len(_without_ether(w3, roles)))


def _without_ether(w3: Web3, roles: Roles) -> list[str]:
    asked = dict.fromkeys(account.address for account in (roles.coordinator, *roles.clients))
    return [
        address
        for address in asked
        if address != roles.sponsor.address and w3.eth.get_balance(to_checksum_address(address)) == 0
    ]


def _cost(w3: Web3, accounts: int) -> int:
    return accounts * (_GAS_MONEY + _TRANSFER_GAS * 3 * w3.eth.gas_price) if accounts else 0


def roles_for(*, chain_id: int, key: str | None, folder: Path, evaluators: int, clients: int) -> Roles:
    """Keystores if one is named, Anvil's test accounts otherwise.

    Args:
        chain_id: Of the chain.
        key: File of the sponsor's keystore, if one is named.
        folder: Takes the keystores of the others.
        evaluators: How many.
        clients: How many.
    Raises: TestKeysElsewhere on any other chain than 31337.
    """
    if key:
        return keystore_roles(Path(key), folder=folder, evaluators=evaluators, clients=clients)
    return anvil_roles(chain_id=chain_id, evaluators=evaluators, clients=clients)
