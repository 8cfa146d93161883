"""What is wrong in a round, proven on chain: watch, prove, submit."""
