"""What an update was worth: the direction of a round, and the game that it is the direction of."""
