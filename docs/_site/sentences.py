"""The sentences of a page or a docstring.

A sentence ends with a full stop, a question mark or an exclamation mark. Code counts as one word. Tables, blocks of
code, examples and equations are left out.
"""

import re
from collections.abc import Iterator

BLOCKS = re.compile(
    r"\A---\n.*?\n---$|^ *(```+|~~~+).*?^ *\1 *$|<!--.*?-->|^ *\|.*?$|^#.*?$"
    r"|^>>> .*?(?=\n\n|\Z)|(?<=\n\n)    .*?(?=\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
CODE = re.compile(r"``.*?``|`.*?`", re.DOTALL)
LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
# where a paragraph, an item of a list or the entry of an argument begins
START = re.compile(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.) )|\n(?= *[\w*, ]+: )")
END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!et al)(?<! [A-Z])[.!?][)\"*]*\s+(?=[A-Z\"(*x])")


def sentences(text: str) -> Iterator[str]:
    r"""Yield the sentences of Markdown or of a docstring.

    >>> page = "# A. B\n\nSpikes of `LIF(tau=8.0)` are [zeros. And ones](a.md#b). T. Bu has it, e.g. here! Is it?"
    >>> [*sentences(page + "\n\n| a. B |\n\n- An item. Another\n- A third\n\n>>> print('not. This')")]
    ['Spikes of x are zeros', 'And ones', 'T. Bu has it, e.g. here', 'Is it?', '- An item', 'Another', '- A third']
    >>> [*sentences("Energy::\n\n    E = m. c\n\nArgs:\n    x: of neurons. All.\n    y: others.")]
    ['Energy::', 'Args:', 'x: of neurons', 'All.', 'y: others.']
    """
    plain = LINK.sub(r"\1", CODE.sub("x", BLOCKS.sub("\n", text)))
    for part in START.split(plain):
        yield from filter(None, END.split(" ".join(part.split())))
