"""One page about a network: its training, its firing, its costs, and a check of its gradients.

    report(model, loader, "report.html", history=history)

The page is one HTML file that needs neither a network nor scripts. These files write it, each with one idea:

write report: measure, draw, write batches what the loader gives, as pieces of one length that a network takes measure
rates, silent neurons and operations over all pieces, and records of a few samples history what was logged while
training, as curves advice what silent and saturated neurons need twins the inputs of each step, and its independent
implementation in JAX gradients the gradients of each step against that, or against finite differences svg, figures
pictures that follow the colours of the page html, style elements and their looks sections the page, section by section

It needs matplotlib: the extra ``plot``.
"""

from spikingtorch.report.write import report

__all__ = ["report"]
