"""A run as numbers (`summary`) and as a page (`page`)."""
