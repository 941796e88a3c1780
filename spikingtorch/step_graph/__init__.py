"""What feeds what in one step of a network: the calls of modules and functions in their order, with their sources.

The files:

    recorder    the calls of a step that runs
    trace       the graph of torch.fx, for readers that have no input to run
    norms       batch norm as a part of the weights before it
"""
