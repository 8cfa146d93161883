"""A task from its opening to its end: terms, accounts, false challenges, kept bundles, closing."""
