"""The chain: contract, transactions, keys and the records that are signed."""

import sys

import py_ecc  # noqa: F401 - eth_account brings it, and it lets Python recurse 100,000 calls deep

# As Python has it: otherwise a stranger's JSON of so many brackets overruns the stack and ends the process.
sys.setrecursionlimit(1000)
