"""A train message to a node of a small world, and its answer."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fl.protocol import RECORD, TrainRequest

BASE = np.arange(8, dtype=np.float32)


def question(task, base, *, request=None, message_type="train", number=1):
    """A train message to the first client's node."""
    content = RecordDict(
        {
            "arrays": ArrayRecord({"weight": Array(base.reshape(2, 4))}),
            "config": ConfigRecord({"server-round": number}),
        }
    )
    if request is not False:
        request = request or TrainRequest(task_id=task.task.task_id, round=number)
        content[RECORD] = request.to_record()
    return Message(content, 2, message_type)


def ask(task, context, base, *, moves=lambda number, round_number, base: np.full(8, 0.25), **options):
    """One message through the app, mod and all."""
    return task.app(moves)(question(task, base, **options), context)
