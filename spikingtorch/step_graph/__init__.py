"""What feeds what in one step of a network: the calls of modules and functions in their order, with their sources.

The files:

    recorder    the calls of a step that runs
    trace       the graph of torch.fx, for readers that have no input to run
    norms       batch norm as a part of the weights before it
"""

from spikingtorch.step_graph.norms import merge_norm, norm_of
from spikingtorch.step_graph.recorder import Call, StepGraph, record
from spikingtorch.step_graph.trace import trace

__all__ = ["Call", "StepGraph", "merge_norm", "norm_of", "record", "trace"]
