"""A masked round's transcript as JSON: what is published of it, and what a coordinator keeps while it goes on."""

from __future__ import annotations

from typing import Any

from fl.foreign.json_text import BadJson, hex_of, list_of, object_of
from fl.privacy.graph import Pair, by_number, pair_of
from fl.privacy.seeds import KEY_BYTES, SECRET_BYTES
from fl.privacy.steps import Commitment, Sharing, Telling, account_of
from fl.privacy.transcript import Transcript

_SIGNATURE = 65


def transcript_to_json(said: Transcript) -> dict[str, Any]:
    """In canonical order: accounts ascending."""
    return {
        "commitments": [said.commitments[account].to_json() for account in by_number(said.commitments)],
        "sharings": [said.sharings[account].to_json() for account in by_number(said.sharings)],
        "agreements": {account: said.agreements[account].hex() for account in by_number(said.agreements)},
        "own": {account: said.own[account].hex() for account in by_number(said.own)},
        "pairs": {account: said.pairs[account].hex() for account in by_number(said.pairs)},
        "tellings": [said.tellings[account].to_json() for account in by_number(said.tellings)],
        "opened": [[*pair, owner, key.hex()] for pair, (owner, key) in sorted(said.opened.items())],
    }


def transcript_from_json(raw: object) -> Transcript:
    """What `transcript_to_json` wrote. Raises: BadJson or KeyError for anything else."""
    told = object_of(raw)
    commitments = [Commitment.from_json(raw) for raw in list_of(told["commitments"])]
    sharings = [Sharing.from_json(raw) for raw in list_of(told["sharings"])]
    tellings = [Telling.from_json(raw) for raw in list_of(told["tellings"])]
    opened: dict[Pair, tuple[str, bytes]] = {}
    for parts in map(list_of, list_of(told["opened"])):
        if len(parts) != 4:
            raise BadJson(problem=f"an opened pair has {len(parts)} parts where 4 are expected")
        pair = account_of(parts[0]), account_of(parts[1])
        if pair_of(*pair) != pair or pair in opened or parts[2] not in pair:
            raise BadJson(problem="an opened pair stands there twice, descending, or opened by a stranger")
        opened[pair] = (account_of(parts[2]), hex_of(parts[3], size=KEY_BYTES))
    return Transcript(
        commitments={commitment.account: commitment for commitment in commitments},
        sharings={sharing.account: sharing for sharing in sharings},
        agreements=_hexes(told["agreements"], size=_SIGNATURE),
        own=_hexes(told["own"], size=SECRET_BYTES),
        pairs=_hexes(told["pairs"], size=SECRET_BYTES),
        tellings={telling.account: telling for telling in tellings},
        opened=opened,
    )


def _hexes(raw: object, *, size: int) -> dict[str, bytes]:
    return {account_of(address): hex_of(value, size=size) for address, value in object_of(raw).items()}
