"""An entry of BibTeX from CITATION.cff."""

from pathlib import Path
from typing import Any

import yaml

ENTRY = """\
```bibtex
@software{{spikingtorch,
  title = {{{title}}},
  author = {{{authors}}},
  version = {{{version}}},
}}
```"""


def bibtex(path: Path) -> str:
    """Return a block of Markdown that cites what the file describes."""
    cff: dict[str, Any] = yaml.safe_load(path.read_text())
    authors = [each.get("name") or f"{each['family-names']}, {each['given-names']}" for each in cff["authors"]]
    # braces around the name of a group keep it in one piece
    whole = [f"{{{author}}}" if "," not in author else author for author in authors]
    return ENTRY.format(title=cff["title"], authors=" and ".join(whole), version=cff["version"])
