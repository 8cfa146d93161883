"""The terms of a task as its client reads them before it is asked: what runs, leaves the machine, is staked and may be earned."""

from __future__ import annotations

import hashlib
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import clients
import fl
from clients.joining.preview import Preview
from clients.joining.purse import Purse
from clients.privacy.consent import seen, sent, signed
from fl.chain.enrolment import Enrolment
from fl.chain.invite import Invite
from fl.chain.task_state import TaskState, Terms
from fl.chain.tokens import in_tokens, tokens
from fl.plain_text import plural, printable
from fl.task.bounds import MOST_MODEL, MOST_ROWS_A_ROUND, WHOLE
from fl.task.data import Dataset

_MARGIN = 15  # columns before the text


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Everything that the question is about."""

    invite: Invite
    spec: Mapping[str, Any]  # the invite's, parsed
    terms: Terms
    state: TaskState
    others: Sequence[Enrolment]  # who joined before
    purse: Purse
    data: Dataset
    read: str  # how its columns were found
    unlike: Sequence[str]  # how the owner's rows differ
    preview: Preview
    app: str
    name: str = ""  # that the owner chose for the coordinator's page

    def lines(self) -> list[str]:
        """The lines before the question."""
        invite, spec, terms, state = self.invite, self.spec, self.terms, self.state
        reveal = "after each round" if terms.reveal_each_round else "at the end of the task"
        told = {
            "name": f"{word(invite.name, most=80)}" if invite.name else None,
            "about": printable(invite.description, most=600) or None,
            "where": f"chain {invite.chain_id}, contract {invite.contract}, gateway {word(invite.gateway, most=100)}",
            "coordinator": f"{terms.coordinator}, {plural(state.clients, 'client')} so far, {state.posted} of {state.rounds} rounds "
            "posted",
            "pays": f"up to {in_tokens(state.budget)} ({invite.token}) over {plural(state.rounds, 'round')}, by score"
            + (
                "; its sponsor may end it early, and the last round then pays the whole budget"
                if terms.may_stop
                else ""
            ),
            "you may earn": self._expected(),
            "trains": f"{word(spec['model'], most=100)}, {self.preview.parameters:,} values, {plural(self.preview.steps, 'step')} of "
            f"{plural(self.preview.batch_size, 'row')} a round, strategy {word(self.preview.strategy)}",
            "doubtful": self._doubtful(),
            **(self.preview.cost.lines() if self.preview.cost else {}),
            "no task may": f"ask for more than {MOST_MODEL:,} values, {WHOLE['steps'][1]:,} steps or {MOST_ROWS_A_ROUND:,} rows a round",
            "your data": f"{plural(len(self.data), 'row')}{self._held()}, {self.read}; they stay on this machine",
            "differs": "; ".join(self.unlike) or "nothing that stands out from the rows that the task was made with",
            "a trial": self._trial(),
            "you have": f"{in_tokens(self.purse.tokens)} and {tokens(self.purse.ether)} ETH at {self.purse.account}",
            "you stake": f"{in_tokens(self.purse.stake)} of {self.purse.account} ({tokens(terms.min_stake)} to "
            f"{tokens(terms.max_stake)} are taken; more is more weight); back at the end, lost for two signed updates of one "
            "round",
            "gas": f"about {self.purse.gas / 10**18:.2g} ETH at today's price, from joining to fetching the stake",
            "you are": f"“{self.name}” on the coordinator's page, beside your address" if self.name else None,
            "you sign": signed(spec),
            "you send": sent(spec, parameters=self.preview.parameters, open_bytes=self.preview.update_bytes),
            "privacy": seen(spec, rounds=state.rounds, rows=len(self.data)),
            "scored by": f"{terms.quorum} of {plural(len(terms.evaluators), 'evaluator')}{at_stake(terms)}; what the scores came from is revealed {reveal}"
            + ("; attested: nobody can challenge a score on chain" if terms.attested else ""),
            "deadlines": f"a round is final {span(terms.challenge_window)} after its post; a silent coordinator can be ended "
            f"after {span(terms.round_timeout)}; claim within {span(terms.claim_period)} of the end",
            "runs": f"{self.app} of fairshare {version('fairshare')}, code {_code_hash()}; no code of the coordinator's",
            "spec": f"sha256 0x{invite.spec_hash.hex()}, as on chain",
        }
        if self.preview.base_model != terms.base_model:
            told["note"] = "the task starts from another model than this machine's torch makes; it is sent with round 1"
        return [f"task {invite.task_id}", *wrapped(told.items())]

    def _doubtful(self) -> str | None:
        """What its coordinator should hear of before anybody stakes."""
        if not self.preview.doubts:
            return None
        return f"{'; '.join(self.preview.doubts)}: tell its coordinator, whose model it is"

    def _expected(self) -> str:
        """What an average client of its stake can look forward to: an estimate, and said to be one."""
        left, staked = self.state.budget - self.state.cumulative, sum(other.stake for other in self.others)
        if not staked:
            return (
                f"{in_tokens(left)} are to be earned, and nobody else has joined yet: about {tokens(left // 2)} with one "
                f"other client whose rows are worth as much as yours, {tokens(left // 4)} with three. By score it may be more, "
                "or nothing"
            )
        share = self.purse.stake / (staked + self.purse.stake)
        return (
            f"about {in_tokens(int(left * share))} if your rows are worth as much as others' and nobody else comes: your "
            f"stake is {share:.0%} of all. By score it may be more, or nothing"
        )

    def _trial(self) -> str | None:
        """What one round on most of the rows was worth on the others, and how long it takes."""
        if (trial := self.preview.trial) is None:
            return None
        took = f"a round takes about {span(trial.round_s)} here"
        if trial.steps < self.preview.steps:
            took += f" ({trial.steps:,} of its steps were tried)"
        if trial.score is None:
            return f"one round on your {plural(trial.trained, 'row')}; they are too few to hold any out for a score; {took}"
        accuracy = (
            ""
            if trial.accuracy_after is None
            else f", accuracy {trial.accuracy_before:.0%} → {trial.accuracy_after:.0%}"
        )
        paid = "" if trial.score > 0 else "; such an update would earn nothing"
        return (
            f"one round on {trial.trained} of your rows took the loss on {trial.held_out} others from {trial.loss_before:.4f} to "
            f"{trial.loss_after:.4f}: a score of {trial.score:+.4f}{accuracy}{paid}. The task scores on rows of the "
            f"coordinator's, which may say otherwise; {took}"
        )

    def _held(self) -> str:
        if self.data.labels.dtype.kind == "f":
            return f" ({self.data.labels.min():.4g} to {self.data.labels.max():.4g})"
        counts = self.data.class_counts(int(self.spec["num_classes"])).tolist()
        names = self.spec.get("class_names") or [str(number) for number in range(len(counts))]
        held = ", ".join(f"{count} {word(name)}" for name, count in zip(names, counts, strict=False) if count)
        return f" ({held})" if held else ""  # text has no classes


def at_stake(terms: Terms) -> str:
    """What evaluators lose for signing what they could have seen to be wrong, behind their number."""
    if not terms.evaluator_stake:
        return ", with nothing at stake"
    return f" with {in_tokens(terms.evaluator_stake)} of each at stake, lost for signing what it could see to be wrong"


def wrapped(told: Iterable[tuple[str, str | None]]) -> list[str]:
    """Lines of a heading and a text, broken between words at the terminal's width."""
    width = max(60, shutil.get_terminal_size(fallback=(110, 24)).columns)
    lines = []
    for what, text in told:
        if text is None:
            continue
        lines += textwrap.wrap(
            printable(text, most=4000),
            width=width,
            initial_indent=f"  {what:<12} ",
            subsequent_indent=" " * _MARGIN,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def word(told: object, *, most: int = 50) -> str:
    """A word of the coordinator's, too short to fill a line of a terminal and to begin another one."""
    return printable(told, most=most)


def span(seconds: float) -> str:
    """A time in the largest unit that it has two of."""
    if seconds < 2:
        return f"{_two_digits(seconds * 1000)} ms" if seconds < 1 else f"{seconds:.2g} s"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _two_digits(number: float) -> str:
    """A number to two digits as people write it: 490, and not 4.9e+02."""
    return f"{float(f'{number:.2g}'):g}"


def _code_hash() -> str:
    """The first 16 hex digits of sha256 over all Python files of the two packages, by name."""
    digest = hashlib.sha256()
    for package in (fl, clients):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
