"""What scores say beside themselves: how sure they are, what was paid for, how rules differ."""
