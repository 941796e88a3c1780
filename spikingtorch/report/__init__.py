"""One page about a network: its training, its firing, its costs, and a check of its gradients.

The page is one HTML file that needs neither a network nor scripts. These files write it:

    write           report: measure, draw, write
    batches         the batches of the loader, as pieces of one length for the network
    integers        a network in whole numbers as integers: their certificate, or the refusal
    measure         rates, silent neurons and operations over all pieces, and records of a few samples
    history         the training history, as curves
    advice          advice on silent and saturated neurons
    twins           the inputs of each step, and its independent implementation in JAX
    gradients       the gradients of each step, compared with the twin or with finite differences
    svg, figures    pictures that follow the colours of the page
    html, style     elements and their looks
    sections        the page, section by section

It needs matplotlib: the extra ``plot``.
"""

from spikingtorch.report.write import report

__all__ = ["report"]
