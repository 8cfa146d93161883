"""What a task's privacy comes to, in the words in which its client reads it before it is asked."""

from __future__ import annotations

from collections.abc import Mapping

from fl.plain_text import plural
from fl.privacy.budget import Sampling, planned
from fl.privacy.terms import PrivacyTerms

OPEN = "what an update itself reveals of the rows, coordinator and evaluators may see"


def sent(spec: Mapping[str, object], *, parameters: int, open_bytes: int) -> str:
    """What leaves the machine in a round, for the line that says so.

    Args:
        spec: Of the task.
        parameters: P, values of the model.
        open_bytes: Of an open round's update.
    """
    if not PrivacyTerms.of(spec.get("privacy")).masked:
        return (
            f"{open_bytes:,} bytes a round: the difference that training made, with that signature. Nothing else leaves this "
            f"machine; {OPEN}"
        )
    return (
        f"about {8 * parameters:,} bytes a round: the difference that training made under masks that only all clients together "
        "take off, and a few kilobytes of keys, shares and checks. Nothing else leaves this machine"
    )


def signed(spec: Mapping[str, object]) -> str:
    """What the wallet signs in a round."""
    update = "one Update(task, round, client, base model, update root) a round"
    if not PrivacyTerms.of(spec.get("privacy")).masked:
        return f"{update}, for this task and nothing else"
    return f"{update}, and MaskedSteps that bind its keys, shares and checks, for this task and nothing else"


def seen(spec: Mapping[str, object], *, rounds: int, rows: int = 0) -> str:
    """Who learns what, and what the task's rounds spend of the client's privacy.

    Args:
        rounds: Of the task.
        rows: Of the client.
    """
    terms = PrivacyTerms.of(spec.get("privacy"))
    noise = ""
    if terms.noise == "client":
        noise = (
            f"noise: {terms.multiplier} times what an update may be long, for ε {planned(terms, rounds=rounds):.2f} at δ {terms.delta} "
            f"over {plural(rounds, 'round')}, or less with privacy.limit; "
        )
    if (sampling := Sampling.of(spec, rows=rows)) is not None:
        spent = planned(terms, rounds=rounds, sampling=sampling)
        noise = (
            f"noise: in each step this node holds the gradient of each row to {terms.clip} and adds {terms.multiplier} times that, for "
            f"ε {spent:.2f} at δ {terms.delta} of each of your {plural(sampling.rows, 'row')} over {plural(rounds, 'round')}, or less with privacy.limit; "
            "that it does so nobody else can check; "
        )
    if not terms.masked:
        return f"{noise}no masks: coordinator and evaluators see every update" + (" with its noise" if noise else "")
    length = "the length of your update, " if terms.noise != "client" else ""
    told = f", {terms.projections} random projections of it (they bound its length)" if terms.projections else ""
    return (
        f"{noise}masked: coordinator and evaluators see the sum of everybody's updates, {length}your score{told}, and no update. What "
        "still leaks: the sum itself, with few clients more of each; your score, round after round; and everything, if the "
        "coordinator has accounts of its own in place of two thirds of the others"
    )
