"""Behaviours as people write them."""

import pytest

from fl.errors import ConfigError
from fl.task.behaviour import Behaviour, read_behaviour


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("honest", {}),
        ("zero", {"source": "zero"}),
        ("free_ride", {"source": "zero"}),
        ("noise", {"source": "noise"}),
        ("replay_average:0.9", {"source": "replay_average", "decay": 0.9}),
        ("label_flip:0.5", {"flipped": 0.5}),
        ("backdoor:3", {"backdoor": 3}),
        ("copy:2", {"copied": 2}),
        ("lazy:4", {"steps": 4}),
        ("scale:2.5", {"factor": 2.5}),
        ("split:4", {"wallets": 4}),
        ("ring:5,2,3", {"source": "ring", "members": (2, 3, 5)}),
        ("opposite:5,2", {"source": "opposite", "members": (5, 2)}),
        ("label_flip:0.3+lazy:4+scale:5", {"flipped": 0.3, "steps": 4, "factor": 5.0}),
        ("replay_step+scale:2", {"source": "replay_step", "factor": 2.0}),
    ],
)
def test_a_behaviour_is_read(text, parts):
    assert read_behaviour(text) == Behaviour(text=text, **parts)


@pytest.mark.parametrize(
    "text",
    [
        "", "sleep", "honest:1", "zero:1", "label_flip", "label_flip:0", "label_flip:1.1", "label_flip:nan", "label_flip:x",
        "replay_average:0", "replay_average:1.1", "scale:0", "scale:1e7", "scale:inf", "lazy:0", "lazy:1.5", "copy:-1", "copy:1.5",
        "backdoor:x", "split:1", "split:65", "ring:2", "ring:2,2", "ring:a,b", "opposite:1", "opposite:1,2,3", "lazy:3+", "+",
    ],
)  # fmt: skip
def test_an_unknown_behaviour_is_refused_with_all_that_there_are(text):
    with pytest.raises(ConfigError) as caught:
        read_behaviour(text)
    assert str(caught.value) == (
        f"behaviour {text!r} is unknown; write one of honest, zero, free_ride, noise, replay_step, replay_direction, "
        "replay_average:DECAY, adam, sign, replay_model, stale, synthetic, harm, ring:A,B,…, opposite:A,B, label_flip:SHARE, backdoor:CLASS, "
        "copy:CLIENT, lazy:STEPS, scale:FACTOR, split:WALLETS, or several joined by +, with 0 < DECAY ≤ 1, 0 < SHARE ≤ 1, "
        "0 < FACTOR ≤ 10^6, STEPS ≥ 1, 2 ≤ WALLETS ≤ 64, and clients by number"
    )


@pytest.mark.parametrize("text", ["zero+noise", "scale:2+scale:3", "honest+scale:2", "stale+harm"])
def test_two_answers_to_one_question_are_refused(text):
    with pytest.raises(ConfigError) as caught:
        read_behaviour(text)
    assert str(caught.value) == (
        f"behaviour {text!r} says twice what is sent; join parts that do not exclude each other"
    )


@pytest.mark.parametrize(("text", "part"), [("noise+lazy:3", "lazy"), ("zero+copy:1+backdoor:1", "backdoor")])
def test_how_to_train_means_nothing_to_whoever_does_not(text, part):
    with pytest.raises(ConfigError) as caught:
        read_behaviour(text)
    assert str(caught.value) == f"behaviour {text!r} does not train, so {part} means nothing; leave one of both out"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("honest", "does the work"),
        ("label_flip:0.5+scale:5", "has 50% of its labels flipped, sends 5 times its update"),
        ("replay_average:0.9", "does not train and sends all directions, each 0.9 as strong as the next"),
        ("ring:3,4,7", "sends the best update of a ring of clients 3 and 4 and 7"),
        ("copy:2", "sends the update of client-2"),
        ("split:4", "is under 4 wallets"),
    ],
)
def test_a_behaviour_is_told_in_words(text, words):
    assert str(read_behaviour(text)) == words


@pytest.mark.parametrize(
    ("text", "looks_back"),
    [("honest", False), ("zero", False), ("scale:5", False), ("noise", True), ("stale", True), ("adam", True),
     ("synthetic", True), ("opposite:1,2", True), ("ring:1,2", False), ("harm", False)],
)  # fmt: skip
def test_only_who_goes_by_the_past_needs_it(text, looks_back):
    assert read_behaviour(text).looks_back is looks_back
