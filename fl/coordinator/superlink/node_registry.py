"""Lets exactly those nodes connect whose wallets joined on chain: enrolment is the only account system there is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fl.chain.enrolment import Enrolment
from fl.chain.node_key import BadNodeKey, accounts_by_key
from fl.coordinator.superlink.process import SuperLink, SuperLinkRefused

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
        self._refused: dict[bytes, str] = {}  # keys, and why
        self._turn = threading.Lock()

    def follow(self, enrolments: Collection[Enrolment], *, round_number: int = 0) -> Registration:
        """Register the node keys of those who joined and unregister those of who left.

        Args:
            round_number: Who has left before or with this round no longer connects; 0 before the first round.
        Raises: SuperLinkFailed.
        """
        with self._turn:
            nodes = {node.node_key: node for node in self._superlink.nodes()}
            gone_accounts = {
                enrolment.node_key: enrolment.account for enrolment in enrolments if _left(enrolment, round_number)
            }
            owners = accounts_by_key(enrolment for enrolment in enrolments if not _left(enrolment, round_number))
            registered: list[str] = []
            refused: list[str] = []
            for key, accounts in owners.items():
                if key in nodes:
                    continue
                if key in self._refused:  # for good: it is not a key, or was given up once
                    refused += [self._refuse(account, self._refused[key]) for account in accounts]
                    continue
                try:
                    self._superlink.register(key)
                    registered += accounts
                except (BadNodeKey, SuperLinkRefused) as error:
                    self._refused[key] = f"cannot connect a node: {error}"
                    refused += [self._refuse(account, self._refused[key]) for account in accounts]
            gone = [node for key, node in nodes.items() if self._is_gone(key, owners, gone_accounts)]
            for node in gone:
                self._superlink.unregister(node.node_id)
            unregistered = [gone_accounts.get(node.node_key, "") for node in gone]
            if registered or unregistered:
                log.info("nodes: %d registered, %d unregistered", len(registered), len(unregistered))
            return Registration(registered=tuple(registered), unregistered=tuple(unregistered), refused=tuple(refused))

    def accounts(self, enrolments: Collection[Enrolment]) -> dict[int, tuple[str, ...]]:
        """Accounts by node id, of the registered nodes."""
        owners = accounts_by_key(enrolments)
        return {node.node_id: owners[node.node_key] for node in self._superlink.nodes() if node.node_key in owners}

    def _is_gone(self, key: bytes, owners: Mapping[bytes, tuple[str, ...]], gone_accounts: Mapping[bytes, str]) -> bool:
        if key in owners:
            self._missing.pop(key, None)
            return False
        if key in gone_accounts:
            return True
        now = time.monotonic()
        return now - self._missing.setdefault(key, now) >= self._missing_s

    def _refuse(self, account: str, problem: str) -> str:
        if account not in self._told:
            self._told.add(account)
            log.warning("%s %s", account, problem)
        return account


def _left(member: Enrolment, round_number: int) -> bool:
    return 0 < member.left_round <= round_number
