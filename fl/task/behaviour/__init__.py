"""What a client does instead of honest work, for demonstrations and experiments: real behaviours of real clients."""

from fl.task.behaviour.kinds import HONEST, Behaviour, read_behaviour
from fl.task.behaviour.replays import Known

__all__ = ["HONEST", "Behaviour", "Known", "read_behaviour"]
