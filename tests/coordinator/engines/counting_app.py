"""An app whose answer depends on its message and its node's own past, for the engines' tests."""

import os

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl.task.held_arrays import received_model, record_of

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Add the node's number, once for each time it was asked."""
    known = context.state.config_records.get("past") or ConfigRecord({"asked": 0})
    asked = int(known["asked"]) + 1
    context.state["past"] = ConfigRecord({"asked": asked})
    number = int(context.node_config["number"])
    if context.node_config.get("dies-at") == asked:
        os._exit(7)
    base = received_model(message.content.array_records["arrays"]).vector
    metrics = MetricRecord({"asked": asked, "process": os.getpid()})
    return Message(
        RecordDict({"arrays": made(base + np.float32(number * asked)), "metrics": metrics}), reply_to=message
    )


def made(values) -> ArrayRecord:
    """A record of one array."""
    return record_of({"w": values})
