"""A client's own app whose training ends in NaN."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.signing import sign_updates

app = ClientApp(mods=[sign_updates])


@app.train()
def train(message, context):
    (arrays,) = message.content.array_records.values()
    lost = ArrayRecord({name: Array(np.full_like(array.numpy(), np.nan)) for name, array in arrays.items()})
    return Message(
        RecordDict({"arrays": lost, "metrics": MetricRecord({"train-loss": float("nan")})}), reply_to=message
    )
