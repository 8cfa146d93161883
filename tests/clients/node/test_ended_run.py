"""A message whose run ends while a SuperNode fetches it: Flower's own books, and what this node makes of them."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.object_store.object_store_factory import ObjectStoreFactory
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.nodestate_factory import NodeStateFactory

from clients.node import supernode
from clients.node.supernode import give_up_ended_runs, look_sooner


@pytest.fixture
def state():
    """A SuperNode's books, with one run."""
    factory = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=factory).state()
    state.set_node_id(7)
    run = Run.create_empty(run_id=5)
    run.primary_task_type = "flwr-serverapp"
    state.store_run(run)
    return state, factory.store()


def fetch(state, store, *, pull_object):
    """One look of the SuperNode for a message: there is one of run 5."""
    message = Message(RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(3, np.float32))})}), 7, "train")
    message.metadata.__dict__["_run_id"] = 5
    message.metadata.__dict__["_message_id"] = message.object_id
    return start_client_internal._pull_and_store_message(
        state=state,
        object_store=store,
        node_config={},
        receive=lambda: (message, get_object_tree(message)),
        get_run=None,
        get_fab=None,
        pull_object=pull_object,
        confirm_message_received=lambda run_id, message_id: None,
        trusted_entities=None,
    )


def over(run_id, object_id):
    """What the SuperLink says of a run that was stopped."""
    raise RunNotRunningException


def test_nothing_of_it_is_left_for_the_executor(state, monkeypatch):
    monkeypatch.setattr(start_client_internal, "_pull_and_store_message", start_client_internal._pull_and_store_message)
    give_up_ended_runs()
    books, store = state
    assert fetch(books, store, pull_object=over) is None
    assert not books.get_tasks(statuses=["pending"])
    assert not books.get_messages_legacy(is_reply=False)


def test_a_supernode_looks_for_messages_every_second(monkeypatch):
    slept = []
    monkeypatch.setattr(start_client_internal, "time", start_client_internal.time)
    look_sooner()
    monkeypatch.setattr(supernode.time, "sleep", slept.append)
    for seconds in (3, 0.5):
        start_client_internal.time.sleep(seconds)
    assert slept == [1.0, 0.5]
