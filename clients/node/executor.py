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
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import ErrorCode, SubStatus
from flwr.common.serde import context_from_proto, message_from_proto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from clients.errors import AnswerLost, NodeRefusal
from fl.plain_text import printable

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
        app: Callable[[], ClientAppCallable],
        node_config: Mapping[str, str | int | float | bool],
        clock_offset_s: float = 0.0,
    ) -> None:
        self._address, self._app, self._node_config = address, app, dict(node_config)
        self._clock_offset_s = clock_offset_s
        proof = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        self._client = self._connect(RuntimeVersionHttpInterceptor(component_name="SuperExec"), proof)

    def step(self) -> bool:
        """Answer one message if one waits; returns whether there was one.

        A message that cannot be read is answered with an error, as is one that the app fails with.

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
            given = client.PullTaskInput(PullTaskInputRequest())  # with the bundled code, which is not looked at
            context = context_from_proto(given.context)
            # An app that makes messages of its own finds here who it is.
            TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
            TaskIdentity.node_id = context.node_id
            told = client.PullMessages(PullAppMessagesRequest())
            if not told.messages_list:
                log.info("a message was withdrawn before it was taken")
                return False
            # What the SuperNode knows the message by, and so what an answer is for, whatever the message says of itself.
            envelope = message_from_proto(told.messages_list[0])
            try:
                message = _open(envelope, told.message_object_trees[0], client=client, context=context)
            except (ObjectPullError, httpx.HTTPError) as error:
                log.info("a message was withdrawn before it was whole: %s", printable(error))
                return False
            except Exception as error:  # whatever Flower makes of pieces that are none
                failure = printable(f"the message cannot be read ({type(error).__name__}: {error})", most=300)
                log.warning("%s", failure)
                answer = _error_reply(envelope, failure)
            else:
                answer, failure = self._answer(message, context)
            self._date(answer)
            push_message(client, answer, context)
            push_task_output(client, context, SubStatus.FAILED if failure else SubStatus.COMPLETED, failure)
        except Exception as error:  # mostly of HTTP; whatever it is, the SuperNode has no answer
            # It waits for this answer and takes no other message before it has it.
            raise AnswerLost(reason=printable(f"{type(error).__name__}: {error}", most=300)) from error
        finally:
            heartbeat.stop()
            client.close()
        return True

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _connect(self, *interceptors: ProtobufClientInterceptor) -> RuntimeHttpClient:
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
            if not isinstance(answer, Message):
                raise TypeError(f"the app answers with a {type(answer).__name__}, a Message is expected")
        except NodeRefusal as error:
            failure = printable(error)
            log.warning("refused: %s", failure)
        except Exception as error:  # whatever the app raises: the node goes on, and the coordinator is told that much
            log.exception("the app failed")
            # No more than the kind: the text may quote the owner's rows or paths, which stay here.
            failure = f"its app raised {type(error).__name__}; the node's own log says why"
        if failure:
            answer = _error_reply(message, failure)
        context.state = own.state
        return answer, failure

    def _date(self, answer: Message) -> None:
        """By the coordinator's clock."""
        dated = answer.metadata.__dict__
        dated["_created_at"] += self._clock_offset_s
        dated["_ttl"] -= self._clock_offset_s


def _open(envelope: Message, tree: ObjectTree, *, client: RuntimeHttpClient, context: Context) -> Message:
    """The message with its content. Raises: ObjectPullError if it was withdrawn; anything for what is no message."""
    node = Node(node_id=context.node_id)
    message = pull_and_inflate_object_from_tree(
        tree,
        make_pull_object_fn_protobuf(client.PullObject, node, context.run_id),
        make_confirm_message_received_fn_protobuf(client.ConfirmMessageReceived, node, context.run_id),
        return_type=Message,
    )
    message.__dict__["_metadata"] = envelope.metadata
    return message


def _error_reply(message: Message, reason: str) -> Message:
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)


def _beat(client: RuntimeHttpClient) -> Callable[[], bool]:
    def beat() -> bool:
        try:
            # A task that was given up is no reason to stop training: the answer is kept, and sent when asked again.
            client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
        except httpx.HTTPError as error:
            log.debug("heartbeat: %s", error)
        return True

    return beat
