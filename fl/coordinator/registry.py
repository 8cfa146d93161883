"""Lets exactly those nodes connect whose wallets joined on chain: enrolment is the only account system there is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fl.chain.escrow import Enrolment
from fl.chain.node_key import BadNodeKey
from fl.coordinator.superlink import SuperLink, SuperLinkRefused

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What one look at the enrolments changed."""

    registered: tuple[str, ...] = ()  # accounts
    unregistered: tuple[str, ...] = ()  # accounts, or "" for a key that no enrolment names
    refused: tuple[str, ...] = ()  # accounts whose node key cannot be registered; each is logged once


class NodeRegistry:
    """Keeps a SuperLink's registered nodes and a task's enrolments the same; may be called from several threads.

    Args:
        missing_s: Seconds for which a key has to be missing on chain before it is unregistered. That cannot be undone, and
            the next answer of a public RPC service may come from a machine that is some blocks behind.
    """

    def __init__(self, superlink: SuperLink, *, missing_s: float = 300.0) -> None:
        self._superlink, self._missing_s = superlink, missing_s
        self._missing: dict[bytes, float] = {}  # key -> monotonic seconds since when
        self._told: set[str] = set()
        self._turn = threading.Lock()

    def follow(self, enrolments: Collection[Enrolment], *, round_number: int = 0) -> Registration:
        """Register the node keys of those who joined and unregister those of who left.

        Args:
            round_number: Who has left before or with this round no longer connects; 0 before the first round.
        Raises: SuperLinkFailed.
        """
        with self._turn:
            nodes = {node.node_key: node for node in self._superlink.nodes()}
            gone_accounts = {one.node_key: one.account for one in enrolments if _left(one, round_number)}
            owners, doubles = _owners([one for one in enrolments if not _left(one, round_number)])
            refused = [self._refuse(*double) for double in doubles]
            registered = []
            for key, member in owners.items():
                if key in nodes:
                    continue
                try:
                    self._superlink.register(key)
                    registered.append(member.account)
                except (BadNodeKey, SuperLinkRefused) as error:
                    refused.append(self._refuse(member, f"cannot connect a node: {error}"))
            gone = [node for key, node in nodes.items() if self._is_gone(key, owners, gone_accounts)]
            for node in gone:
                self._superlink.unregister(node.node_id)
            unregistered = [gone_accounts.get(node.node_key, "") for node in gone]
            if registered or unregistered:
                log.info("nodes: %d registered, %d unregistered", len(registered), len(unregistered))
            return Registration(registered=tuple(registered), unregistered=tuple(unregistered), refused=tuple(refused))

    def accounts(self, enrolments: Collection[Enrolment]) -> dict[int, str]:
        """Account by node id, of the registered nodes."""
        owners, _ = _owners(enrolments)
        return {
            node.node_id: owners[node.node_key].account for node in self._superlink.nodes() if node.node_key in owners
        }

    def _is_gone(self, key: bytes, owners: Mapping[bytes, Enrolment], gone_accounts: Mapping[bytes, str]) -> bool:
        if key in owners:
            self._missing.pop(key, None)
            return False
        if key in gone_accounts:
            return True
        now = time.monotonic()
        return now - self._missing.setdefault(key, now) >= self._missing_s

    def _refuse(self, member: Enrolment, problem: str) -> str:
        if member.account not in self._told:
            self._told.add(member.account)
            log.warning("%s %s", member.account, problem)
        return member.account


def _left(member: Enrolment, round_number: int) -> bool:
    return 0 < member.left_round <= round_number


def _owners(members: Collection[Enrolment]) -> tuple[dict[bytes, Enrolment], list[tuple[Enrolment, str]]]:
    """Who each node key belongs to, and who named a key that was taken.

    Keys are public, and anybody may put somebody else's on chain: a key stays registered while any member names it, and is
    shown as that of who joined first. Weight and pay hang on the wallet's signature, never on the key.
    """
    owners: dict[bytes, Enrolment] = {}
    doubles = []
    for member in members:
        first = owners.setdefault(member.node_key, member)
        if first is not member:
            doubles.append((member, f"names the node key of {first.account}, who joined before; its own would connect"))
    return owners, doubles
