"""Recompute a round and sign its header, in the coordinator's process or on another machine."""
