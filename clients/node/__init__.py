"""The node's processes: Flower's SuperNode, and the executor that answers for it."""
