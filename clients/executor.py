"""The executor of a SuperNode: takes a message from it, lets the locally installed ClientApp answer, and hands the answer back.

The SuperNode also offers the code that the coordinator bundled (its FAB). It is left where it is: never unpacked, installed or
imported. What runs is the `ClientApp` that the owner installed, with the owner's own node configuration, whatever the
message says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import httpx
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from clients.errors import AnswerLost, NodeRefusal

log = logging.getLogger(__name__)

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class Executor:
    """Answers the messages of one SuperNode, one at a time.

    Args:
        address: host:port of the SuperNode's runtime API.
        secret: What the SuperNode knows its executor by.
        app: Gives the ClientApp when the first message is there.
        node_config: What the owner set; it replaces what the SuperNode says.
        clock_offset_s: The coordinator's clock less this machine's; answers are dated by the coordinator's.
    """

    def __init__(
        self,
        address: str,
        *,
        secret: bytes,
        app: Callable[[], ClientApp],
        node_config: Mapping[str, str | int | float | bool],
        clock_offset_s: float = 0.0,
    ) -> None:
        self._address, self._app, self._node_config = address, app, dict(node_config)
        self._clock_offset_s = clock_offset_s
        proof = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        self._client = self._connect(RuntimeVersionHttpInterceptor(component_name="SuperExec"), proof)

    def step(self) -> bool:
        """Answer one message if one waits; returns whether there was one.

        Raises: httpx.HTTPError if the SuperNode does not answer; AnswerLost if it took no answer to a message that it gave.
        """
        # Nothing but ClientApp tasks: what else Flower knows (agents, connectors) has no business on a node.
        acquired = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        if not acquired.token:
            return False
        client = self._connect(
            RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), RuntimeTokenHttpInterceptor(acquired.token)
        )
        heartbeat = HeartbeatSender(_beat(client))
        heartbeat.start()
        try:
            try:
                message, context, _, _ = pull_task_input(client)  # the last one is the bundled code
            except (ObjectPullError, RuntimeError) as error:
                log.info("a message was withdrawn before it was whole: %s", error)
                return False
            answer, failure = self._answer(message, context)
            push_message(client, answer, context)
            push_task_output(client, context, SubStatus.FAILED if failure else SubStatus.COMPLETED, failure)
        except httpx.HTTPError as error:
            # The SuperNode waits for this answer and takes no other message before it has it.
            raise AnswerLost(reason=f"{type(error).__name__}: {error}") from error
        finally:
            heartbeat.stop()
            client.close()
        return True

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _connect(self, *interceptors: object) -> RuntimeHttpClient:
        # Plain HTTP on loopback, and no retries: a SuperNode that does not answer is restarted.
        client = RuntimeHttpClient.from_server_address(
            server_address=self._address, insecure=True, root_certificates=None, interceptors=list(interceptors)
        )
        client._client.close()
        # Flower's own would go through the proxy that the environment names, loopback or not.
        client._client = httpx.Client(trust_env=False, timeout=30)
        return client

    def _answer(self, message: Message, context: Context) -> tuple[Message, str]:
        own = Context(
            run_id=context.run_id,
            node_id=context.node_id,
            node_config=self._node_config,
            state=context.state,
            run_config=context.run_config,
        )
        failure = ""
        try:
            answer = self._app()(message, own)
        except NodeRefusal as error:
            log.warning("refused: %s", error)
            failure = str(error)
        except Exception as error:  # whatever the app raises: the node goes on, and the coordinator is told that much
            log.exception("the app failed")
            # No more than the kind: the text may quote the owner's rows or paths, which stay here.
            failure = f"the node failed ({type(error).__name__}); its own log says why"
        if failure:
            reason = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=failure)
            answer = Message(reason, reply_to=message)
        context.state = own.state
        dated = answer.metadata.__dict__
        dated["_created_at"] += self._clock_offset_s
        dated["_ttl"] -= self._clock_offset_s
        return answer, failure


def _beat(client: RuntimeHttpClient) -> Callable[[], bool]:
    def beat() -> bool:
        try:
            # A task that was given up is no reason to stop training: the answer is kept, and sent when asked again.
            client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
        except httpx.HTTPError as error:
            log.debug("heartbeat: %s", error)
        return True

    return beat
