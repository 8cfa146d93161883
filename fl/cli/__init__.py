"""`fl <command> key=value …`: one grammar for every command."""
