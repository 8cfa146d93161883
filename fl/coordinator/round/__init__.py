"""One round: collect the updates, settle them, have the header signed, post it."""
