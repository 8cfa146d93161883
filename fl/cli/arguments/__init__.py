"""From `key=value` on the command line to checked values."""
