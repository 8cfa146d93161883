"""Flower strategies as a round uses them: which updates they take, and their step done again."""
