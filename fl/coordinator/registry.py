"""Lets exactly those nodes connect whose wallets joined on chain: enrolment is the only account system there is."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from fl.chain.escrow import Enrolment
from fl.chain.node_key import BadNodeKey, flower_public_key
from fl.coordinator.superlink import NodeState, SuperLink, SuperLinkRefused

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What one look at the enrolments changed."""

    registered: tuple[str, ...] = ()  # accounts
    unregistered: tuple[str, ...] = ()  # accounts, or "" for a key that no enrolment names
    refused: tuple[str, ...] = ()  # accounts whose node key cannot be registered; each is logged once


class NodeRegistry:
    """Keeps a SuperLink's registered nodes and a task's enrolments the same."""

    def __init__(self, superlink: SuperLink) -> None:
        self._superlink = superlink
        self._told: set[str] = set()

    def follow(self, enrolments: Collection[Enrolment], *, round_number: int = 0) -> Registration:
        """Register the node keys of those who joined and unregister those of who left.

        Args:
            round_number: Who has left before or with this round no longer connects; 0 before the first round.
        Raises: SuperLinkFailed.
        """
        members = [one for one in enrolments if not 0 < one.left_round <= round_number]
        nodes = {node.node_key: node for node in self._superlink.nodes()}
        owners: dict[bytes, str] = {}
        registered, refused = [], []
        # Who joined first keeps the key: keys are public, and anybody may put somebody else's on chain.
        for member in members:
            if member.node_key in owners:
                refused.append(
                    self._refuse(member, f"has the node key of {owners[member.node_key]}, who joined before")
                )
                continue
            owners[member.node_key] = member.account
            if member.node_key in nodes:
                continue
            try:
                flower_public_key(member.node_key)
                self._superlink.register(member.node_key)
                registered.append(member.account)
            except (BadNodeKey, SuperLinkRefused) as error:
                refused.append(self._refuse(member, f"cannot connect a node: {error}"))
        unregistered = [self._unregister(node, enrolments) for key, node in nodes.items() if key not in owners]
        if registered or unregistered:
            log.info(
                "nodes: %d registered, %d unregistered, %d in all", len(registered), len(unregistered), len(owners)
            )
        return Registration(registered=tuple(registered), unregistered=tuple(unregistered), refused=tuple(refused))

    def accounts(self, enrolments: Collection[Enrolment]) -> dict[int, str]:
        """Account by node id, of the registered nodes."""
        owners: dict[bytes, str] = {}
        for member in enrolments:
            owners.setdefault(member.node_key, member.account)
        return {node.node_id: owners[node.node_key] for node in self._superlink.nodes() if node.node_key in owners}

    def _unregister(self, node: NodeState, enrolments: Collection[Enrolment]) -> str:
        self._superlink.unregister(node.node_id)
        return next((one.account for one in enrolments if one.node_key == node.node_key), "")

    def _refuse(self, member: Enrolment, problem: str) -> str:
        if member.account not in self._told:
            self._told.add(member.account)
            log.warning("%s %s", member.account, problem)
        return member.account
