"""round.json and header.json: what everybody is given of a round, read from somebody else's text within bounds.

Amounts are decimal strings, since JSON readers lose digits above 2^53.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from fl.bundle.files import AGGREGATE, BASE, DIRECTION, MASKED, NEXT, ROUND, BrokenBundle, update_file
from fl.chain.typed_data import Header
from fl.codec import Layout
from fl.codec.address import is_checksummed
from fl.errors import FairshareError
from fl.foreign.json_text import (
    BadJson,
    decimal_of,
    hex_of,
    list_of,
    object_of,
    read_json,
    shown,
    text_of,
    whole_of,
)
from fl.plain_text import printable
from fl.rewards import Leaf, RoundTree
from fl.scoring.public_vectors import PublicStep
from fl.task.bounds import MOST_MODEL

VERSION = 5  # of round.json; another one is refused by its number
_LONGEST_NAME, _MOST_ARRAYS, _MOST_DIMENSIONS = 500, 1 << 16, 8
# Coefficients of a public step: one for each array of the model (this round's step), one for each of at most 15 rounds before, and Adam's
# (see `fl.scoring.public_vectors.step_vectors`).
_FURTHER_COEFFICIENTS = 16
_MOST_SIGNATURES, _LONGEST_SIGNATURE = 255, 1000
# What somebody else's text does to a reader that expects another one.
NOT_THIS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, FairshareError)


class OtherVersion(FairshareError):
    """A round was written by another version of Fairshare."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen

    def __str__(self) -> str:
        return f"it is of version {self.seen}, and this Fairshare reads version {VERSION}; read it with the Fairshare that wrote it"


@dataclass(frozen=True, kw_only=True)
class ListedUpdate:
    """What round.json says of an accepted update, without its blocks."""

    account: str
    stake: int  # wei
    weight: int  # units of 2^−32
    selected: bool
    root: bytes
    signature: bytes  # 65 bytes


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """round.json: what everybody is given of a round beside its header."""

    task_id: bytes
    round: int
    layout: Layout
    updates: tuple[ListedUpdate, ...]
    previous: tuple[Leaf, ...]
    leaves: tuple[Leaf, ...]
    price: int  # units of 2^−64 wei per 2^−40 of loss
    length: int  # units of 2^−64
    public: PublicStep | None
    masked: bool = False

    def to_json(self) -> bytes:
        """The content of round.json."""
        return canonical(
            {
                "version": VERSION,
                "taskId": self.task_id.hex(),
                "round": self.round,
                "names": self.layout.names,
                "shapes": self.layout.shapes,
                "updates": [
                    {
                        "account": update.account,
                        "stake": str(update.stake),
                        "weight": str(update.weight),
                        "selected": update.selected,
                        "root": update.root.hex(),
                        "signature": update.signature.hex(),
                    }
                    for update in self.updates
                ],
                "previous": [leaf_to_json(leaf) for leaf in self.previous],
                "leaves": [leaf_to_json(leaf) for leaf in self.leaves],
                "price": str(self.price),
                "length": str(self.length),
                # Floats in hex: a decimal would have to be read back to the same bits.
                "public": self.public
                and {
                    "coefficients": [coefficient.hex() for coefficient in self.public.coefficients],
                    "rate": self.public.rate.hex(),
                },
                **({"masked": True} if self.masked else {}),  # an open round says nothing of it
            }
        )


def files_named_by(record: RoundRecord) -> list[str]:
    """The files of a bundle beside round.json and the manifest."""
    updates = [update_file(update.account) for update in record.updates]
    return [
        BASE,
        NEXT,
        DIRECTION,
        *([AGGREGATE] if record.public else []),
        *([MASKED] if record.masked else []),
        *updates,
    ]


def leaves_of(text: bytes, *, where: str) -> tuple[Leaf, ...]:
    """The leaves in the content of round.json, whatever else it holds: no nonsense beside them keeps a fraud from being proven.

    Raises: BrokenBundle.
    """
    try:
        leaves = tuple(map(leaf_from_json, list_of(object_of(read_json(text))["leaves"])))
        RoundTree(leaves, published=True)  # which is where sums that are too large show
        return leaves
    except NOT_THIS as error:
        raise BrokenBundle(folder=where, problem=f"{ROUND} cannot be read ({type(error).__name__}: {error})") from error


def read_round(text: bytes, *, where: str) -> RoundRecord:
    """Read the content of round.json. Raises: BrokenBundle."""
    try:
        raw = object_of(read_json(text))
        if (version := raw.get("version", 1)) != VERSION or type(version) is not int:
            raise OtherVersion(seen=printable(shown(version)))
        # Somebody else wrote it, and everything behind trusts the object.
        layout = _layout(raw["names"], raw["shapes"])
        record = RoundRecord(
            task_id=hex_of(raw["taskId"], size=32),
            round=whole_of(raw["round"], least=1, most=2**32 - 1),
            layout=layout,
            updates=tuple(map(_listed, list_of(raw["updates"]))),
            previous=tuple(map(leaf_from_json, list_of(raw["previous"]))),
            leaves=tuple(map(leaf_from_json, list_of(raw["leaves"]))),
            price=decimal_of(raw["price"], bits=128),
            length=decimal_of(raw["length"], bits=128),
            public=_public(raw["public"], arrays=len(layout.names)),
            masked="masked" in raw,
        )
        if raw.get("masked", True) is not True:
            raise BadJson(problem=f"masked is {shown(raw['masked'])}; it is true, or not there")
        for leaves in (record.leaves, record.previous or record.leaves):
            RoundTree(leaves, published=True)
        return record
    except NOT_THIS as error:
        raise BrokenBundle(folder=where, problem=f"{ROUND} cannot be read ({type(error).__name__}: {error})") from error


def _layout(names: object, shapes: object) -> Layout:
    told = tuple(text_of(name, most=_LONGEST_NAME) for name in list_of(names))
    sizes = tuple(
        tuple(whole_of(size, least=0, most=MOST_MODEL) for size in list_of(shape)) for shape in list_of(shapes)
    )
    if len(set(told)) != len(told) or len(sizes) != len(told) or len(told) > _MOST_ARRAYS:
        raise BadJson(
            problem=f"{len(told)} names of arrays, of which {len(set(told))} differ, have {len(sizes)} shapes"
        )
    if any(len(shape) > _MOST_DIMENSIONS for shape in sizes) or sum(map(math.prod, sizes)) > MOST_MODEL:
        raise BadJson(problem=f"its arrays have more than {_MOST_DIMENSIONS} dimensions, or {MOST_MODEL} values in all")
    return Layout(names=told, shapes=sizes)


def _public(raw: object, *, arrays: int) -> PublicStep | None:
    if raw is None:
        return None
    told = object_of(raw)
    coefficients = list_of(told["coefficients"])
    most = arrays + _FURTHER_COEFFICIENTS
    if len(coefficients) > most:
        raise BadJson(
            problem=f"the public step has {len(coefficients)} coefficients, {most} are the most for {arrays} arrays"
        )
    return PublicStep(coefficients=tuple(map(_hex_float, coefficients)), rate=_hex_float(told["rate"]))


def _hex_float(raw: object) -> float:
    value = float.fromhex(text_of(raw, most=40))
    if not math.isfinite(value):
        raise BadJson(problem=f"the public step has {shown(raw)}, which is not a number")
    return value


def _listed(raw: object) -> ListedUpdate:
    told = object_of(raw)
    if not isinstance(told["selected"], bool):
        raise BadJson(problem=f"selected is {shown(told['selected'])}, true or false is expected")
    return ListedUpdate(
        account=_account(told["account"]),
        stake=decimal_of(told["stake"], bits=128),
        weight=decimal_of(told["weight"], bits=64),
        selected=told["selected"],
        root=hex_of(told["root"], size=32),
        signature=hex_of(told["signature"], size=65),
    )


def _account(raw: object) -> str:
    account = text_of(raw, most=42)
    if not is_checksummed(account):
        raise BadJson(problem=f"{shown(account)} is not a checksum address")
    return account


def header_file(header: Header, signatures: Sequence[bytes]) -> bytes:
    """The content of header.json."""
    return canonical({"header": header_to_json(header), "signatures": [signature.hex() for signature in signatures]})


def signed_header_of(text: bytes) -> tuple[Header, list[bytes]]:
    """The header and signatures in the content of header.json. Raises: an error of NOT_THIS."""
    raw = object_of(read_json(text))
    signatures = list_of(raw["signatures"])
    if len(signatures) > _MOST_SIGNATURES:
        raise BadJson(problem=f"it has {len(signatures)} signatures, and a task at most {_MOST_SIGNATURES} evaluators")
    return header_from_json(raw["header"]), [_signature(signature) for signature in signatures]


def header_to_json(header: Header) -> dict[str, str]:
    """A header with its amounts as decimal strings and its hashes in hex."""
    return _texts(asdict(header))


def header_from_json(raw: object) -> Header:
    """What `header_to_json` wrote. Raises: BadJson or KeyError for anything else."""
    told = object_of(raw)
    return Header(
        task_id=hex_of(told["task_id"], size=32),
        round=decimal_of(told["round"], bits=32),
        previous=hex_of(told["previous"], size=32),
        base_model=hex_of(told["base_model"], size=32),
        next_model=hex_of(told["next_model"], size=32),
        validation=hex_of(told["validation"], size=32),
        direction_root=hex_of(told["direction_root"], size=32),
        tree_root=hex_of(told["tree_root"], size=32),
        leaf_count=decimal_of(told["leaf_count"], bits=32),
        enrolment=hex_of(told["enrolment"], size=32),
        cumulative=decimal_of(told["cumulative"], bits=128),
        price=decimal_of(told["price"], bits=128),
        bundle=hex_of(told["bundle"], size=32),
    )


def _signature(raw: object) -> bytes:
    # Of any length: who reads it says what is wrong with it.
    return bytes.fromhex(text_of(raw, most=_LONGEST_SIGNATURE))


def leaf_to_json(leaf: Leaf) -> dict[str, str]:
    """A leaf with its amounts as decimal strings."""
    return _texts(asdict(leaf))


def _texts(told: Mapping[str, object]) -> dict[str, str]:
    return {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in told.items()}


def leaf_from_json(raw: object) -> Leaf:
    """What `leaf_to_json` wrote. Raises: BadJson or KeyError for what no tree can hold."""
    told = object_of(raw)
    return Leaf(
        account=_account(told["account"]),
        update_root=hex_of(told["update_root"], size=32),
        weight=decimal_of(told["weight"], bits=64),
        score=decimal_of(told["score"], bits=128, signed=True),
        total=decimal_of(told["total"], bits=128, signed=True),
        cumulative=decimal_of(told["cumulative"], bits=128),
    )


def canonical(value: object) -> bytes:
    """JSON in one form only: what is hashed has one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
