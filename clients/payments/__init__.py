"""What a node earned, claimed and reports."""
