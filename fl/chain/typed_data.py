"""What is signed: EIP-712 typed data for headers, updates and receipts.

The domain binds every signature to one contract on one chain, and each message to one task and round.
Source: EIP-712, https://eips.ethereum.org/EIPS/eip-712; compact signatures: EIP-2098.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar, cast

from coincurve import PrivateKey, PublicKey
from eth_account.signers.local import LocalAccount
from eth_keys.constants import SECPK1_N

from fl.codec.address import checksummed, raw_address
from fl.codec.keccak import keccak
from fl.errors import FairshareError

ZERO_HASH = bytes(32)


class InvalidSignature(FairshareError):
    """Bytes that are not an ECDSA signature in the one form that the contract takes too."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def __str__(self) -> str:
        return (
            f"{self.length} bytes are not a signature: 65 bytes r ‖ s ‖ v are expected, with s in the lower half of the "
            "curve's order and v 27 or 28; sign with fl.chain.sign"
        )


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The contract and chain that a signature is good for."""

    chain_id: int
    contract: str  # checksum address
    name: str = "Fairshare"  # of the contract, as its own domain says
    version: str = "1"

    def as_dict(self) -> dict[str, object]:
        """The EIP-712 domain fields."""
        return {
            "name": self.name,
            "version": self.version,
            "chainId": self.chain_id,
            "verifyingContract": self.contract,
        }


@dataclass(frozen=True, kw_only=True)
class Update:
    """A client's word that these blocks are its update to this base model."""

    task_id: bytes
    round: int
    client: str
    base_model: bytes  # fl.codec.model_hash of the model that it trained from
    update_root: bytes  # fl.codec.block_root of the blocks

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "round": "uint32",
        "client": "address",
        "baseModel": "bytes32",
        "updateRoot": "bytes32",
    }


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The coordinator's word that it took this update into the round."""

    task_id: bytes
    round: int
    client: str
    update_root: bytes

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "round": "uint32",
        "client": "address",
        "updateRoot": "bytes32",
    }


@dataclass(frozen=True, kw_only=True)
class Join:
    """An account's order to enrol it, for a relayer to send; used up by the joining, which happens once."""

    task_id: bytes
    account: str
    stake: int  # wei
    node_key: bytes
    dataset: bytes
    fee: int  # wei, from the account to whoever sends it, on top of the stake
    deadline: int  # last second it is good for

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "account": "address",
        "stake": "uint128",
        "nodeKey": "bytes",
        "dataset": "bytes32",
        "fee": "uint128",
        "deadline": "uint40",
    }


@dataclass(frozen=True, kw_only=True)
class Permit:
    """An owner's order to a token that `spender` may take an amount (ERC-2612, https://eips.ethereum.org/EIPS/eip-2612)."""

    owner: str
    spender: str
    value: int  # wei
    nonce: int  # of the owner, in the token
    deadline: int  # last second it is good for

    SOLIDITY: ClassVar[dict[str, str]] = {
        "owner": "address",
        "spender": "address",
        "value": "uint256",
        "nonce": "uint256",
        "deadline": "uint256",
    }

    def as_tuple(self, signature: bytes) -> tuple[int, int, int, bytes, bytes]:
        """(value, deadline, v, r, s), as contracts take it."""
        return self.value, self.deadline, signature[64], signature[:32], signature[32:64]


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """An account's order to pay one round's claim elsewhere, for a relayer to send; used up by that claim."""

    task_id: bytes
    round: int
    account: str
    recipient: str
    fee: int  # wei, of the amount, for whoever sends it
    deadline: int  # last second it is good for

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "round": "uint32",
        "account": "address",
        "recipient": "address",
        "fee": "uint128",
        "deadline": "uint40",
    }


@dataclass(frozen=True, kw_only=True)
class Header:
    """What one round comes to: the one thing that evaluators sign and the chain keeps."""

    task_id: bytes
    round: int  # from 1
    tree_root: bytes
    leaf_count: int
    cumulative: int  # C, wei
    previous: bytes  # `header_hash` of the header before, zeros in round 1
    validation: bytes  # hash of the committed validation set
    base_model: bytes
    next_model: bytes
    direction_root: bytes
    enrolment: bytes  # of all joins and leaves up to the post before, see `fl.chain.enrolment`
    price: int  # units of 2^−64 wei per 2^−40 of loss
    bundle: bytes  # hash of the bundle's manifest

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "round": "uint32",
        "treeRoot": "bytes32",
        "leafCount": "uint32",
        "cumulative": "uint128",
        "previous": "bytes32",
        "validation": "bytes32",
        "baseModel": "bytes32",
        "nextModel": "bytes32",
        "directionRoot": "bytes32",
        "enrolment": "bytes32",
        "price": "uint128",
        "bundle": "bytes32",
    }

    def as_tuple(self) -> tuple[bytes | int, ...]:
        """Field values in the order of the Solidity struct."""
        return tuple(asdict(self).values())

    def as_payroll(self) -> tuple[bytes | int, ...]:
        """What a claim brings of it: the fields that pay, and the struct hash of the others."""
        return *self.as_tuple()[:_PAYING], _struct_words(self)[-1]


def no_round(task_id: bytes) -> Header:
    """What stands for the last valid header of a task that has none: of it the contract reads nothing but the id."""
    none = bytes(32)
    return Header(
        task_id=task_id,
        round=0,
        previous=none,
        base_model=none,
        next_model=none,
        validation=none,
        direction_root=none,
        tree_root=none,
        leaf_count=0,
        enrolment=none,
        cumulative=0,
        price=0,
        bundle=none,
    )


@dataclass(frozen=True, kw_only=True)
class Access:
    """An account's request for what a coordinator does not give to everybody; the contract never sees it."""

    task_id: bytes
    expires: int  # last second it is good for

    SOLIDITY: ClassVar[dict[str, str]] = {"taskId": "bytes32", "expires": "uint64"}


@dataclass(frozen=True, kw_only=True)
class MaskedStep:
    """A client's word in a step of a masked round (`fl.privacy.steps`); the contract never sees it."""

    task_id: bytes
    round: int
    client: str
    step: int
    content: bytes  # sha256 of what was said

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "round": "uint32",
        "client": "address",
        "step": "uint8",
        "content": "bytes32",
    }


@dataclass(frozen=True, kw_only=True)
class GatewayNotice:
    """The coordinator's word that its task is reached there, and what it calls the task; the contract never sees it."""

    task_id: bytes
    gateway: str  # https://host:port
    authority: str  # PEM of the certificate that the gateway's own is signed with, "" for the system's
    name: str
    description: str

    SOLIDITY: ClassVar[dict[str, str]] = {
        "taskId": "bytes32",
        "gateway": "string",
        "authority": "string",
        "name": "string",
        "description": "string",
    }


@dataclass(frozen=True, kw_only=True)
class Back:
    """An evaluator's order that `payer` may stake for it, and speak for it if it is a contract."""

    task_id: bytes
    evaluator: str
    payer: str

    SOLIDITY: ClassVar[dict[str, str]] = {"taskId": "bytes32", "evaluator": "address", "payer": "address"}


Signable = Update | Receipt | Join | Permit | Redirect | Header | Access | MaskedStep | Back | GatewayNotice

_PAYING = 5  # fields of a header that a claim needs; the others are its Rest, of which the struct hash is enough
_VALUES = 1 << 14  # recovered signatures that are remembered: those of a round, for who checks it after the coordinator


def digest(message: Signable, *, domain: Domain) -> bytes:
    """The 32 bytes that are signed: keccak(0x1901 ‖ domain separator ‖ struct hash)."""
    return keccak(b"\x19\x01" + _separator(domain) + _struct_hash(message))


def type_of(kind: type[Signable]) -> str:
    """The EIP-712 type of a message; a nested struct's stands behind the one that it is in."""
    members = _members(kind)
    if kind is Header:
        return f"Header({','.join([*members[:_PAYING], 'Rest rest'])}){_rest_type()}"
    return f"{kind.__name__}({','.join(members)})"


def header_hash(header: Header) -> bytes:
    """The struct hash of a header, 32 bytes: what the next header and the contract name it by.

    No chain's id is part of it, so that rounds survive a change of that.
    """
    return _struct_hash(header)


def sign(message: Signable, *, domain: Domain, account: LocalAccount) -> bytes:
    """Sign with a wallet: 65 bytes, r ‖ s ‖ v. The nonce follows from key and message (RFC 6979), and s is in the lower half.

    Args:
        message: A typed value.
        domain: That the signature is bound to.
        account: That signs.
    """
    signed = PrivateKey(bytes(account.key)).sign_recoverable(digest(message, domain=domain), hasher=None)
    return signed[:64] + bytes([signed[64] + 27])


def signer_of(message: Signable, *, domain: Domain, signature: bytes) -> str:
    """The checksum address that signed.

    Args:
        message: A typed value.
        domain: That the signature is bound to.
        signature: 65 bytes.
    Raises: InvalidSignature for bytes that the contract would refuse (EIP-2: a high s is a second form of the same
    signature), so that nothing is accepted here which cannot be proved there.
    """
    low_s = int.from_bytes(signature[32:64], "big") <= SECPK1_N // 2
    if len(signature) != 65 or signature[64] not in (27, 28) or not low_s:
        raise InvalidSignature(length=len(signature))
    return _recovered(digest(message, domain=domain), bytes(signature))


def contract_signature(contract: str) -> bytes:
    """What stands for the signature of an evaluator that is a contract and approved the header on chain, 65 bytes."""
    return bytes(12) + raw_address(contract) + bytes(33)


def contract_of(signature: bytes) -> str:
    """The contract that a signature stands for, "" for a key's."""
    if len(signature) != 65 or any(signature[:12]) or any(signature[32:]):
        return ""
    return checksummed(signature[12:32])


def evaluator_of(header: Header, *, domain: Domain, signature: bytes) -> str:
    """Whose signature of a header this is, a contract's included; that it approved the header, the chain alone knows.

    Args:
        header: That was signed.
        domain: That the signature is bound to.
        signature: 65 bytes.
    Raises: InvalidSignature.
    """
    return contract_of(signature) or signer_of(header, domain=domain, signature=signature)


def compact(signature: bytes) -> tuple[bytes, bytes]:
    """r and vs of a 65-byte signature, as EIP-2098 packs them; of a contract's, its address and zeros."""
    if contract_of(signature):
        return signature[:32], bytes(32)
    r, s, v = signature[:32], signature[32:64], signature[64]
    return r, bytes([s[0] | ((v - 27) << 7)]) + s[1:]


def expanded(r: bytes, vs: bytes) -> bytes:
    """The 65 bytes that `compact` packed."""
    if not any(vs):
        return r + bytes(33)
    return r + bytes([vs[0] & 0x7F]) + vs[1:] + bytes([27 + (vs[0] >> 7)])


@lru_cache(maxsize=_VALUES)
def _recovered(hashed: bytes, signature: bytes) -> str:
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([signature[64] - 27]), hashed, hasher=None)
    except Exception as error:  # libsecp256k1's binding raises bare ones for what is not a point of the curve
        raise InvalidSignature(length=len(signature)) from error
    return checksummed(keccak(key.format(compressed=False)[1:])[12:])


def _struct_hash(message: Signable) -> bytes:
    return keccak(_type_hash(cast(Hashable, type(message))) + b"".join(_struct_words(message)))


def _struct_words(message: Signable) -> list[bytes]:
    """What is hashed of a message behind its type hash, 32 bytes each."""
    kind = type(message)
    values = (getattr(message, name) for name in kind.__dataclass_fields__)
    words = list(map(_word, kind.SOLIDITY.values(), values))
    if kind is Header:
        words[_PAYING:] = [keccak(keccak(_rest_type().encode()) + b"".join(words[_PAYING:]))]
    return words


@cache
def _type_hash(kind: Any) -> bytes:  # a Signable's class, whose hash mypy takes for its instances'
    return keccak(type_of(kind).encode())


@cache
def _rest_type() -> str:
    return f"Rest({','.join(_members(Header)[_PAYING:])})"


def _members(kind: type[Signable]) -> list[str]:
    return [f"{solidity} {name}" for name, solidity in kind.SOLIDITY.items()]


@lru_cache(maxsize=16)
def _separator(domain: Domain) -> bytes:
    kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    return keccak(
        keccak(kind.encode())
        + keccak(domain.name.encode())
        + keccak(domain.version.encode())
        + _word("uint256", domain.chain_id)
        + _word("address", domain.contract)
    )


def _word(solidity: str, value: int | str | bytes) -> bytes:
    """A value as EIP-712 encodes it, 32 bytes. Raises: ValueError for one that its type does not hold."""
    if solidity == "address" and not isinstance(value, int):
        return bytes(12) + raw_address(value)
    if solidity == "bytes32" and isinstance(value, bytes) and len(value) == 32:
        return bytes(value)
    if solidity == "bytes" and isinstance(value, bytes):
        return keccak(value)
    if solidity == "string" and isinstance(value, str):
        return keccak(value.encode())
    if solidity.startswith("uint") and isinstance(value, int) and 0 <= value < 1 << int(solidity[4:]):
        return value.to_bytes(32, "big")
    raise ValueError(f"{value!r} is not a {solidity}")
