"""The one port that a coordinator shows to the world."""
