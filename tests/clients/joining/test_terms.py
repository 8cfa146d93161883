"""What a client reads of the terms before it is asked."""

from types import SimpleNamespace

from clients.joining.terms import at_stake


def test_the_consent_says_what_evaluators_have_at_stake():
    assert at_stake(SimpleNamespace(evaluator_stake=0)) == ", with nothing at stake"
    assert at_stake(SimpleNamespace(evaluator_stake=25 * 10**18)) == (
        " with 25 tokens of each at stake, lost for signing what it could see to be wrong"
    )
