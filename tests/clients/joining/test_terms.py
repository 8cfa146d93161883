"""What a client reads of the terms before it is asked."""

from types import SimpleNamespace

from clients.joining.terms import at_stake, span


def test_the_consent_says_what_evaluators_have_at_stake():
    assert at_stake(SimpleNamespace(evaluator_stake=0)) == ", with nothing at stake"
    assert at_stake(SimpleNamespace(evaluator_stake=25 * 10**18)) == (
        " with 25 tokens of each at stake, lost for signing what it could see to be wrong"
    )


def test_times_are_written_as_people_write_them():
    assert [span(seconds) for seconds in (0.0049, 0.4912, 1.94, 12.3, 150)] == [
        "4.9 ms",
        "490 ms",
        "1.9 s",
        "12.3 s",
        "2.5 min",
    ]
