"""The grid of one process, under the name by which scripts of its users import it; its home is `fl.coordinator.engines.local`."""

from fl.coordinator.engines.local import LocalGrid

__all__ = ["LocalGrid"]
