"""Rounds with noise: what they have spent is told with each, a coordinator that comes back goes on counting, and no metric goes along."""

import pytest

from fl.audit.budget import PrivacyBudget
from fl.bundle.store import BundleStore
from fl.coordinator.engines.local import LocalGrid
from fl.privacy.budget import Sampling, planned
from fl.privacy.terms import PrivacyTerms
from fl.protocol import RECORD

ROWS = PrivacyTerms(noise="rows", multiplier="1", rows=40)
CLIENT = PrivacyTerms(noise="client", multiplier="0.01")


class Listening(LocalGrid):
    """A grid that keeps what answers hold beside the update."""

    beside: list

    def _answer(self, messages, *, timeout):
        for reply in super()._answer(messages, timeout=timeout):
            self.beside.append(set(reply.content) - {RECORD})
            yield reply


@pytest.fixture
def noisy(new_world, spec):
    """A task with noise of some clients that runs two rounds."""

    def play(terms, *, clients=3, **options):
        task = new_world(
            clients=clients, rounds=2, spec=spec(privacy=terms.to_spec(), batch_size=8, steps=5, **options)
        )
        app = task.app(task.downhill)
        grid = Listening(app, {client + 2: task.node_config(client) for client in range(clients)})
        grid.beside = []
        task.run(app, grid=grid)
        return task, grid

    return play


@pytest.mark.parametrize("terms", [ROWS, PrivacyTerms(noise="rows", multiplier="1", rows=40, masked=True)])
def test_noise_on_rows_is_counted_by_the_spec_and_masked_or_not(noisy, terms):
    task, _ = noisy(terms)
    sampling = Sampling(steps=5, batch=8, rows=40)
    expected = [planned(terms, rounds=number, sampling=sampling) for number in (1, 2)]
    assert [report.epsilon for report in task.reports] == expected
    assert all(len(report.scores) == 3 for report in task.reports)
    again = PrivacyBudget(task.spec)
    again.catch_up(
        2,
        BundleStore.at(str(task.reports[0].bundle.parent)),
        enrolments=task.task.enrolments(),
        domain=task.task.domain,
    )
    assert again.spent == expected[1]


@pytest.mark.parametrize(
    ("terms", "options", "sent"),
    [(ROWS, {}, set()), (CLIENT, {"length": "capped"}, set()), (PrivacyTerms(), {}, {"metrics"})],
    ids=["rows", "client", "open"],
)
def test_what_training_says_of_itself_stays_with_a_node_of_a_task_with_noise(noisy, terms, options, sent):
    task, grid = noisy(terms, **options)
    assert grid.beside == [sent] * 6
    if terms == CLIENT:
        assert [report.epsilon for report in task.reports] == [planned(CLIENT, rounds=number) for number in (1, 2)]
