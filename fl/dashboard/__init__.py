"""The live page of a run: what it shows (`view`), what the chain says now (`chain_status`), and the app that serves both."""
