"""What an owner is shown and asked before a node joins: the terms, its own rows beside the task's, and its money."""
