"""One page about a network: what it learned, how it fires, what it costs, and whether its gradients are right.

    report(model, loader, "report.html", history=history)

The page is one HTML file that needs nothing else: no network, no scripts. It is written by files of one idea each:

write           report: measure, draw, write
batches         what the loader gives, as pieces of one length that a network takes
measure         rates, silent neurons and operations over all pieces, and records of a few samples
history         what was logged while training, as curves
advice          what silent and saturated neurons need
twins           the inputs of each step, and its independent implementation in JAX
gradients       the gradients of each step against that, or against finite differences
svg, figures    pictures that follow the colours of the page
html, style     elements and their looks
sections        the page, section by section

It needs matplotlib: the extra ``plot``.
"""

from spikingtorch.report.write import report

__all__ = ["report"]
