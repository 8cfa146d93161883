"""The node's key, and what it signed."""
