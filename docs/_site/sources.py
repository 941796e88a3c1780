"""What is done with pages: notebooks offer themselves for download, and empty folders are left out."""

# pyright: reportMissingModuleSource=false
# docutils is in the environment of the site alone

import re
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx

NOTEBOOK = re.compile(r"\A---\n(?:.*\n)*?(?:jupytext|kernelspec|file_format):")
TITLE = re.compile(r"^# .*\n", re.MULTILINE)
# a line of a list of pages that ends with a star, or the page of the explorer
PATTERN = re.compile(r"^(?:\w+ <)?([\w/]+\*|explorer/index)>?\n", re.MULTILINE)
# the link of a card to a page that is made while the site is built
CARD = re.compile(r"^:link: ([\w/]+)\.html\n:link-type: url\n", re.MULTILINE)


def offer_download(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the link below the title."""
    if NOTEBOOK.match(source[0]):
        name = PurePosixPath(docname).name
        link = f"\n{{nb-download}}`Download this page as a notebook <{name}.ipynb>`\n"
        source[0] = TITLE.sub(lambda title: title[0] + link, source[0], count=1)


def leave_out_empty(app: Sphinx, _docname: str, source: list[str]) -> None:
    """Take away the patterns of lists and the links of cards that no page matches, of which Sphinx would warn."""
    for pattern in (PATTERN, CARD):
        source[0] = pattern.sub(lambda line: line[0] if [*Path(app.srcdir).glob(f"{line[1]}.*")] else "", source[0])


def trim(_app: Sphinx, doctree: nodes.document) -> None:
    """Take away the empty line with which an example of pytest ends."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext()
        if text.endswith("\n"):
            block[:] = [nodes.Text(text.rstrip("\n"))]
            block.rawsource = text.rstrip("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at every page before it is read."""
    app.connect("source-read", offer_download)
    app.connect("source-read", leave_out_empty)
    app.connect("doctree-read", trim)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
