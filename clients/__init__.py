"""The node that an owner runs: it trains on the owner's shard, signs what it sends, and keeps its receipts.

Nothing in `fl` imports this package; the coordinator only ever meets it through Flower messages.
"""

from clients.signing import sign_updates

__all__ = ["sign_updates"]
