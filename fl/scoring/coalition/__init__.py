"""A round as a game of coalitions, and fast ways to know all of its values."""
