"""Flower's SuperLink: its process, its Grid, the nodes that may connect, and their replies."""
