"""The code as syntax, each file read and walked once for all tests of a process that ask."""

import ast
from functools import cache


@cache
def parsed(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


@cache
def imported(path):
    """Every module that a file imports, at its top or anywhere else."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole path"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names
