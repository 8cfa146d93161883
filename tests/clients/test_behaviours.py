"""A client's part in a round, whatever it does instead of honest work."""

from dataclasses import replace

import numpy as np
import pytest

from clients.behaviours import Turn, play
from clients.trainer import train
from clients.workbench import Tools
from fl.errors import ConfigError
from fl.scoring.game import ValidationGame
from fl.task.behaviour import Known, read_behaviour
from fl.task.data import Dataset
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec

SPEC = TaskSpec(model="fl.task.models:LogisticRegression", feature_shape=(4,), num_classes=3, steps=6, batch_size=4)
CENTRES = np.array([[2, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1]], dtype=np.float32)


def rows(client):
    """Twelve rows of three classes, a client's own."""
    rng = np.random.default_rng(client)
    labels = np.arange(12) % 3
    features = CENTRES[labels] + rng.standard_normal((12, 4)).astype(np.float32)
    return Dataset(features=features.astype(np.float32), labels=labels)


def turn(number=0, **changes):
    """A client's turn in the second round."""
    model = SPEC.build_model()
    base = vector_of(model)
    before = base - np.float32(0.1)
    known = Known(base=base, models=[before], directions=[np.ones(len(base))])
    settings = {
        "spec": SPEC,
        "tools": Tools(model, SPEC),
        "number": number,
        "round": 2,
        "seed": 7,
        "known": known,
        "rows": rows,
    }
    return Turn(**{**settings, **changes})


def update(text, number=0, **changes):
    """What a client sends."""
    given = turn(number, **changes)
    trained, _ = play(read_behaviour(text), given)
    return trained.astype(np.float64) - given.known.base


def cosine(vector, other):
    """Of two vectors."""
    return vector @ other / (np.linalg.norm(vector) * np.linalg.norm(other))


def test_an_honest_client_trains_as_the_trainer_does():
    given = turn(number=3)
    seed = int(np.random.SeedSequence([7, 3, 2]).generate_state(1)[0])
    own = rows(3)
    expected = train(
        SPEC.build_model(), given.known.base, features=own.features, labels=own.labels, spec=SPEC, seed=seed
    )
    trained, loss = play(read_behaviour("honest"), given)
    np.testing.assert_array_equal(trained, expected[0])
    assert loss == expected[1] > 0


def test_a_multiple_is_a_multiple():
    np.testing.assert_allclose(update("scale:5"), 5 * update("honest"), atol=1e-6)


def test_a_lazy_client_trains_fewer_steps():
    few = update("honest", spec=replace(SPEC, steps=2))
    np.testing.assert_array_equal(update("lazy:2"), few)
    np.testing.assert_array_equal(update("lazy:99"), update("honest"))


def test_a_copy_is_the_other_clients_update_to_the_bit():
    np.testing.assert_array_equal(update("copy:2", number=0), update("honest", number=2))


def test_flipped_labels_pull_the_other_way():
    assert cosine(update("honest"), update("label_flip:1")) < 0.5


def test_a_back_door_teaches_the_mark():
    given = turn(spec=replace(SPEC, steps=60))
    marked = np.zeros((1, 4), dtype=np.float32)
    marked[0, -1] = max(rows(0).features.max(), 1)
    trained, _ = play(read_behaviour("backdoor:2"), given)
    honest, _ = play(read_behaviour("honest"), given)
    game = ValidationGame(given.tools.model, loss=SPEC.build_loss(), features=marked, labels=np.array([2]))
    assert game.evaluate(trained).loss < 0.5 * game.evaluate(honest).loss


def test_a_stale_client_works_once():
    first = np.arange(len(turn().known.base), dtype=np.float64)
    known = replace(turn().known, first=first)
    np.testing.assert_allclose(update("stale", known=known), first, atol=1e-5)
    np.testing.assert_array_equal(update("stale"), update("honest"))


def test_what_is_replayed_is_not_trained():
    given = turn()
    np.testing.assert_allclose(update("replay_step"), given.known.step(), atol=1e-6)
    assert play(read_behaviour("replay_step"), given)[1] == 0.0
    np.testing.assert_array_equal(update("zero"), np.zeros(len(given.known.base)))


def test_a_ring_sends_one_update_of_its_own():
    sent = [update("ring:0,1,2", number=number) for number in (0, 1, 2)]
    np.testing.assert_array_equal(sent[0], sent[1])
    np.testing.assert_array_equal(sent[0], sent[2])
    assert any(np.array_equal(sent[0], update("honest", number=number)) for number in (0, 1, 2))


def test_two_opposite_clients_cancel():
    np.testing.assert_allclose(update("opposite:0,1", number=0), -update("opposite:0,1", number=1), atol=1e-6)


def test_harm_is_what_lowers_what_others_are_paid():
    honest, harm = update("honest"), update("harm")
    base, model = turn().known.base, SPEC.build_model()
    everybody = [rows(number) for number in range(4)]
    game = ValidationGame(
        model, loss=SPEC.build_loss(), features=np.concatenate([part.features for part in everybody]),
        labels=np.concatenate([part.labels for part in everybody]),
    )  # fmt: skip

    def worth(beside):
        # What another client's update takes off the loss after half of a step that holds this one, too.
        return -update("honest", number=1) @ game.gradient((base + 0.5 * beside).astype(np.float32))

    assert np.linalg.norm(harm) == pytest.approx(np.linalg.norm(honest), rel=1e-3)
    assert worth(harm) < worth(honest) < worth(0 * honest)


def test_made_up_rows_train_an_update_as_long_as_the_last_step():
    found = update("synthetic")
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(turn().known.step()), rel=1e-3)
    assert not update("synthetic", known=Known(base=turn().known.base)).any()  # before anything was seen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ring:1,2", "client 0 is not in ring:1,2; name it there, or give it another behaviour"),
        ("opposite:1,2", "client 0 is not in opposite:1,2; name it there, or give it another behaviour"),
        ("backdoor:3", "behaviour backdoor:3 names class 3, the task has 0 to 2"),
    ],
)
def test_a_behaviour_that_does_not_fit_the_client_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        update(text)
    assert str(caught.value) == message
