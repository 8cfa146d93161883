"""A ClientApp of an owner's own: says that it trains, waits for leave to go on, and moves every value by a quarter or fails."""

import os
import time
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()  # without the mod: the node makes it sign
HERE = Path(os.environ["SLOW_APP_FOLDER"])


@app.query()
def wait(message: Message, context: Context) -> Message:
    with (HERE / "trained").open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return Message(RecordDict(), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    wait(message, context)
    if (HERE / "fail").exists():
        raise ValueError("row 17 is John Doe's")
    arrays = {name: Array(one.numpy() + 0.25) for name, one in message.content["arrays"].items()}
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)
