"""The fused scan: any elementwise step as one compiled loop over time, forward and backward.

    identity, plan      which step this is, and the program of it
    trace, examples, recorder
                        a step and its gradient, run once on examples
    builder, ops, program
                        what was noted, as scalar expressions, and those as text
    c, c_expressions, kernel.h, vector_math.h
                        the program in C
    compiler, folder, cache
                        C as a library, kept on disk
    layout, kernels, records
                        how tensors lie in memory; running a kernel on them
    operators, autograd the raw operators of torch, and their gradient and vmap
    direct              the same without torch's dispatcher, for a scan that has run before
    synapses, neuron_steps, recurrence, recurrence_autograd
                        recurrent neurons: a kernel for each step, a product between two
    python_loop         their steps from Python
    dense_loop, dense_library, dense_loop.h, dense_product.h
                        their steps in C, where the product is one with a matrix

Another language is another file beside ``c``.
"""
