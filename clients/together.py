"""The node's app for many nodes of one process: trains those that can be in one batch, and lets each sign for itself.

The `local` engine calls this where a run is vectorised. Nodes that do anything but honest training of a model that
`clients.cohort` knows are left to the app.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from numpy.typing import NDArray

from clients.app import HonestWork, honest_work, names_in
from clients.cohort import Job, train_together, why_not
from clients.signing import TRAINED_IN, sign_updates
from clients.trainer import train
from fl.task.data import Dataset
from fl.task.held_arrays import ReceivedModel, Records, metrics_of, of_kind, received_model, record_of, reply
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)

_TRIED = 64  # clients of the trial
_TURNS = 3


def answer_together(messages: Sequence[Message], contexts: Sequence[Context]) -> dict[int, Message]:
    """Answers of nodes that can be trained in one batch, by place, each signed by its own wallet.

    A node that is left out, or whose signing fails, is the app's to answer, in its own words.
    """
    found = {
        place: work
        for place, (message, context) in enumerate(zip(messages, contexts, strict=True))
        if (work := honest_work(message, context)) is not None
    }
    if not found:
        return {}
    started = time.perf_counter()
    asked = messages[next(iter(found))]
    received = received_model(next(iter(of_kind(asked.content, ArrayRecord).values())), names=names_in(asked))
    trained = _trained(received, list(found.values()))
    seconds = (time.perf_counter() - started) / len(found)
    answers = {}
    for (place, work), (vector, loss) in zip(found.items(), trained, strict=True):
        content = Records(
            {
                "arrays": record_of(received.layout.unflatten(vector)),
                "metrics": metrics_of({"num-examples": len(work.data), "train-loss": loss}),
            }
        )
        made = reply(content, messages[place])
        setattr(made, TRAINED_IN, seconds)
        try:
            answers[place] = sign_updates(messages[place], contexts[place], _told(made))
        except Exception as error:  # whatever it is, the app meets it again and says it in its reply
            log.debug("node %d is asked by itself: %s", contexts[place].node_id, error)
    return answers


def trains_together(spec: TaskSpec, shards: Sequence[Dataset], *, wanted: str) -> tuple[bool, str]:
    """Whether clients of a task are trained in one batch, and why or why not, in words.

    Args:
        spec: The task's.
        shards: The clients' rows.
        wanted: true, false, or auto: if a short trial on their own rows says that it is faster.
    """
    if wanted == "false":
        return False, "not asked for"
    if (reason := why_not(spec)) is not None:
        return False, reason
    if wanted == "true":
        return True, "asked for"
    jobs = [
        Job(features=shard.features, labels=shard.labels, seed=place) for place, shard in enumerate(shards[:_TRIED])
    ]
    model = spec.build_model()
    base = vector_of(model)

    def one_by_one() -> None:
        for job in jobs:
            train(model, base, features=job.features, labels=job.labels, spec=spec, seed=job.seed)

    def at_once() -> None:
        train_together(spec, base, jobs)

    alone, together = _seconds(one_by_one, at_once)
    told = f"a trial took {together:.3f} s for {len(jobs)} clients in one batch and {alone:.3f} s one by one"
    return together < alone, told


def _trained(received: ReceivedModel, works: Sequence[HonestWork]) -> list[tuple[NDArray[np.float32], float]]:
    jobs = [Job(features=work.data.features, labels=work.data.labels, seed=work.seed) for work in works]
    return train_together(works[0].spec, received.vector, jobs, proximal_mu=works[0].proximal_mu)


def _told(answer: Message) -> Callable[[Message, Context], Message]:
    return lambda message, context: answer


def _seconds(*ways: Callable[[], None]) -> list[float]:
    """Median seconds of each, in turns after a first one that does not count."""
    taken: list[list[float]] = [[] for _ in ways]
    for turn in range(_TURNS + 1):
        for way, seconds in zip(ways, taken, strict=True):
            started = time.perf_counter()
            way()
            if turn:
                seconds.append(time.perf_counter() - started)
    return [median(seconds) for seconds in taken]
