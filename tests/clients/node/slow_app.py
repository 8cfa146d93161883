"""A ClientApp of an owner's own: says that it trains, waits for leave to go on, and fails or takes a step.

The step is the vector in step.npy, or a quarter for every value.
"""

import os
import time
from pathlib import Path

import numpy as np
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
    base = {name: array.numpy() for name, array in message.content["arrays"].items()}
    path, size = HERE / "step.npy", sum(array.size for array in base.values())
    step = np.load(path) if path.exists() else np.full(size, 0.25, np.float32)
    places = np.cumsum([array.size for array in base.values()])[:-1]
    arrays = {
        name: Array(array + part.reshape(array.shape))
        for (name, array), part in zip(base.items(), np.split(step, places), strict=True)
    }
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)
