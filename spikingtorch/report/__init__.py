"""One page about a network: its training, its firing, its costs, and a check of its gradients.

The page is one HTML file that needs neither a network nor scripts. These files write it:

    write           report: measure, fill the template with numbers and pictures, write
    batches         the batches of the loader, as pieces of one length for the network
    measure         rates and operations over all pieces, records of a few samples, and whole numbers as integers
    firing          the rates of a layer, with its silent and saturated neurons
    history         the training history, as curves
    subjects        each step of the network once, with inputs at which it fires
    gradients       the gradients of each step, compared with JAX or with finite differences
    figures         pictures that follow the colours of the page
    templates       the page, section by section, its parts, and its looks

It needs matplotlib: the extra ``plot``.
"""

from spikingtorch.report.write import report

__all__ = ["report"]
