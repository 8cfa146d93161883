"""What can be wrong with data: one error that says what was seen, what was expected, and what to do."""

from __future__ import annotations

from fl.errors import FairshareError


class DataError(FairshareError):
    """Data that cannot be trained on as they are: a file, a row, a label, or the way they are split."""

    def __init__(self, seen: str, expected: str, fix: str) -> None:
        super().__init__(seen, expected, fix)  # raw values, so the error survives pickling between workers
        self.seen, self.expected, self.fix = seen, expected, fix

    def __str__(self) -> str:
        return f"{self.seen}; expected {self.expected}; {self.fix}"
