"""Apps that tests send to workers: each says what it saw, or fails as its message asks."""

import os
import time

import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    """Count this node's messages; raise, die or sleep on request."""
    wish = message.content.config_records["wish"]
    seen = context.state.config_records.get("seen") or ConfigRecord({"count": 0})
    seen["count"] += 1
    context.state["seen"] = seen
    if wish.get("raise"):
        raise ValueError("no data today")
    if wish.get("die"):
        os._exit(9)
    time.sleep(wish.get("sleep", 0.0))
    told = {"count": seen["count"], "node": context.node_config["name"], "threads": torch.get_num_threads()}
    return Message(RecordDict({"told": ConfigRecord(told)}), reply_to=message)
