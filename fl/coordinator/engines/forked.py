"""Worker processes of the `local` engine: copies of this process, each with nodes of its own.

A fork has what this process has read and imported by then, and costs milliseconds where a new process imports torch for seconds. A
node stays with its worker, which keeps its context from one message to the next.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from flwr.app import Message

from fl.coordinator.engines.virtual_grid import failure

log = logging.getLogger(__name__)

_END_S = 5.0  # that a worker has to end after its work

AnswersMessages = Callable[[Sequence[Message]], Iterator[Message]]


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    asked: dict[str, Message] = field(default_factory=dict)  # by id, not answered yet


class ForkedWorkers:
    """Processes that answer messages at the same time.

    Args:
        answer: Answers some messages, in any order; runs in a worker.
        count: How many processes.
    """

    def __init__(self, answer: AnswersMessages, *, count: int) -> None:
        self._answer, self.count = answer, count
        self._workers: dict[int, _Worker] = {}

    def answer(self, messages: Sequence[Message], *, place: Callable[[Message], int]) -> Iterator[Message]:
        """The answers, as they come.

        Args:
            place: Number of the worker that a message's node belongs to, below `count`.
        """
        shares: dict[int, list[Message]] = {}
        for message in messages:
            shares.setdefault(place(message), []).append(message)
        for number, share in shares.items():
            self._ask(number, share)
        while busy := {worker.pipe: number for number, worker in self._workers.items() if worker.asked}:
            ready = wait(list(busy))
            for pipe, number in busy.items():
                if pipe in ready:
                    yield from self._take(number)

    def close(self) -> None:
        """End the processes."""
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.pipe.close()  # which is what a worker without work waits for
        for worker in workers:
            if worker.asked:
                worker.process.terminate()  # in the middle of a round that nobody waits for
            worker.process.join(_END_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(_END_S)

    def _ask(self, number: int, messages: list[Message]) -> None:
        worker = self._workers.get(number) or self._start(number)
        worker.asked = {message.metadata.message_id: message for message in messages}
        try:
            # In one piece: the model that all messages share is in it once.
            worker.pipe.send_bytes(pickle.dumps(messages, protocol=pickle.HIGHEST_PROTOCOL))
        except OSError:
            log.debug("worker %d is gone, which its pipe tells when it is read", number)

    def _take(self, number: int) -> Iterator[Message]:
        worker = self._workers[number]
        try:
            reply = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            worker.process.join(_END_S)
            why = f"its worker died with exit status {worker.process.exitcode}"
            log.warning("worker %d of the local engine died, %d messages are not answered", number, len(worker.asked))
            lost, worker.asked = list(worker.asked.values()), {}
            del self._workers[number]
            worker.pipe.close()
            yield from (failure(message, why) for message in lost)
            return
        del worker.asked[reply.metadata.reply_to_message_id]
        yield reply

    def _start(self, number: int) -> _Worker:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        others = [worker.pipe for worker in self._workers.values()]
        process = context.Process(
            target=self._serve, args=(theirs, [ours, *others]), daemon=True, name=f"clients-{number}"
        )
        process.start()
        theirs.close()
        self._workers[number] = _Worker(process=process, pipe=ours)
        return self._workers[number]

    def _serve(self, pipe: Connection, not_ours: Sequence[Connection]) -> None:
        for connection in not_ours:
            connection.close()  # or a worker would never see that the process that asks is gone
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all; who asked ends us
        while True:
            try:
                messages = pickle.loads(pipe.recv_bytes())
                for reply in self._answer(messages):
                    pipe.send_bytes(pickle.dumps(reply, protocol=pickle.HIGHEST_PROTOCOL))
            except (EOFError, OSError):
                os._exit(0)


def can_fork() -> bool:
    """Whether copies of this process can train: not where there is no fork, and not with a GPU in use."""
    if not hasattr(os, "fork") or os.uname().sysname != "Linux":  # macOS has one that its own libraries do not survive
        return False
    import torch  # noqa: PLC0415 - seconds, which a command that trains nothing need not wait

    return not torch.cuda.is_initialized()
