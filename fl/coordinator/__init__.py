"""Runs a task: the paying strategy around any Flower strategy, and the engines that carry its messages."""
