"""The live flow in Bytewax; nothing else in the project knows it.

dataflow  the stages, strung together
places    which process a shard goes to
"""

from labeling.flow.dataflow import Flow

__all__ = ["Flow"]
