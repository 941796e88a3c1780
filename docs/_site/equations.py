"""Typeset the equations of docstrings, which stand there as plain text, as ``help()`` shows them.

    u[t] = decay v[t-1] + gain x[t]
    s[t] = H(u[t] - threshold)              H(0) = 1

A block that is indented by four spaces, before the sections of a docstring, is read as equations if it has a sign of
equality and nothing that looks like Python. In TeX, words stand upright, letters and Greek names slanted. Two
spaces or more part an equation from a remark, or behind a comma from the next equation, which gets a row of its own.
"""

import re
from collections.abc import Iterator

GREEK = {"alpha", "beta", "delta", "theta", "nu", "pi", "rho", "sigma", "tau", "phi", "omega"}
FUNCTIONS = {"exp", "log", "max", "min"}
LARGE = {"sum": r"\sum", "prod": r"\prod", "product": r"\prod", "max": r"\max", "mean": r"\operatorname{mean}"}
SIGNS = {"<=": r"\le ", ">=": r"\ge ", "!=": r"\ne ", "<-": r"\leftarrow ", "*": r"\cdot ", "~": r"\sim "}
SIGNS |= {"..": r"\ldots ", "...": r"\ldots "} | {sign: rf"\{sign}" for sign in "{}_%#&$"}
TOKEN = re.compile(
    r"``(?P<code>[^`]+)``|(?P<over>\b(?:sum|prod|product|max|mean) over [^,]+? of )|(?P<sum>\bsum_(?:\w|\{[^}]*\}))"
    r"|(?P<gap>(?<=[,;:])  +(?![ =])|(?<![= ])   +(?![ =]))|(?P<space> +)"
    r"|(?P<name>[^\W\d_]\w*)|(?P<number>\d+(?:\.\d+)?)|(?P<sign><=|>=|!=|<-|\.\.\.|\.\.|[^\w\s]|_)"
)
SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Yields|Source):|^>>> ")
EQUATION = re.compile(r"\S = |^ += |<- ", re.MULTILINE)
PYTHON = re.compile(r":$|\)\(|\w\.\w+\(|\*\*", re.MULTILINE)
NEXT = re.compile(r"(?<=[,;])  +(?=[^ ]+( [^ =]+)? = )")
Token = tuple[str, str]


def typeset(lines: list[str]) -> list[str]:
    r"""Return the lines of a docstring with its equations in TeX, and its other indented blocks as literal ones.

    >>> print(*typeset(["Fire.", "", "    u = v + x,  s = H(u)", "", "Args:", "    x: a", "", "    y = 2"]), sep="\n")
    Fire.
    <BLANKLINE>
    .. math::
    <BLANKLINE>
        \begin{aligned}
        u &= v + x, \\
        s &= H(u) \\
        \end{aligned}
    <BLANKLINE>
    Args:
        x: a
    <BLANKLINE>
        y = 2
    >>> typeset(["    with SpikeMonitor(model):", "        out = model(x)"])[:2]
    ['::', '']
    """
    found: list[str] = []
    index = 0
    while index < len(lines) and not SECTION.match(lines[index]):
        end = index
        while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
            end += 1
        if lines[index].startswith("    ") and not (found and found[-1].strip()):
            found += directive(lines[index:end])
            index = end
        else:
            found.append(lines[index])
            index += 1
    return found + lines[index:]


def directive(block: list[str]) -> list[str]:
    """Return the lines of reStructuredText for an indented block."""
    text = "\n".join(block)
    if not EQUATION.search(text) or PYTHON.search(text):
        return ["::", "", *block, ""]
    rows = [tex(row) for line in block if line.strip() for row in NEXT.sub("\n", line).splitlines()]
    if len(rows) > 1:
        starts = (re.sub(r"=|\\leftarrow", r"&\g<0>", row, count=1) for row in rows)
        rows = [r"\begin{aligned}", *[(row if "&" in row else f"&{row}") + r" \\" for row in starts], r"\end{aligned}"]
    return [".. math::", "", *[f"    {row}" for row in rows], ""]


def tex(line: str) -> str:
    r"""Return an equation in TeX.

    >>> print(tex("u[t] = decay v[t-1] + gain x[t]"))
    u[t] = \text{decay}\ v[t-1] + \text{gain}\ x[t]
    >>> print(tex("a = exp(-1 / tau_syn),  y = 1 / (1 + beta |u|)^2"))
    a = \exp(-1 / \tau_{\text{syn}}),\qquad y = 1 / (1 + \beta\,\lvert u\rvert )^2
    >>> print(tex("y = exp(-u^2 / sqrt(2 pi))"))
    y = \exp(-u^2 / \sqrt{2\,\pi})
    >>> print(tex("z[n] = sum over t < T[n] of s[n, t]"))
    z[n] = \sum_{t < T[n]} s[n, t]
    >>> print(tex("s[t] = H(u[t])              H(0) = 1"))
    s[t] = H(u[t])\qquad H(0) = 1
    >>> print(tex("k before the first <= 100 %"))
    k\ \text{before}\ \text{the}\ \text{first} \le  100 \%
    """
    marked = re.sub(r"\|([^|]+)\|", r"abs(\1)", line.strip())
    marked = re.sub(r"sqrt (\w)", r"sqrt(\1)", marked)
    return "".join(parts(tokens_of(marked))).strip()


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text, each with its kind."""
    return [(match.lastgroup or "", match[match.lastgroup or 0]) for match in TOKEN.finditer(text)]


def parts(tokens: list[Token]) -> Iterator[str]:
    """Yield tokens in TeX; a root, an absolute value and a power take what stands in the parentheses behind them."""
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        opens = tokens[index + 1 : index + 2] == [("sign", "(")]
        if opens and text in ("sqrt", "abs", "^"):
            end = closing(tokens, index + 1)
            inner = "".join(parts(tokens[index + 2 : end]))
            yield {"sqrt": rf"\sqrt{{{inner}}}", "abs": rf"\lvert {inner}\rvert ", "^": f"^{{{inner}}}"}[text]
            index = end + 1
            continue
        if kind == "space" and 0 < index < len(tokens) - 1:
            yield space(tokens[index - 1], tokens[index + 1])
        elif kind == "sum":
            yield rf"\sum_{{{text[4:].strip('{}')}}}"
        elif kind == "over":
            sign, _, rest = text.partition(" over ")
            yield f"{LARGE[sign]}_{{{''.join(parts(tokens_of(rest.removesuffix(' of '))))}}} "
        else:
            yield {"code": rf"\texttt{{{text}}}", "gap": r"\qquad ", "name": named(text)}.get(
                kind, SIGNS.get(text, text)
            )
        index += 1


def space(before: Token, after: Token) -> str:
    """Return the space between two tokens: around words, thin in a product, and around signs that of TeX."""
    factors = (before[0] in ("name", "number", "code", "sum") or before[1] in ")]'") and (
        after[0] in ("name", "number", "code", "sum") or after[1] in "(["
    )
    words = named(before[1]) + ("" if after[1] in ("abs", "sqrt") else named(after[1]))
    if r"\text" in words and (factors or "," in before[1]):
        return r"\ "
    return r"\," if factors else " "


def closing(tokens: list[Token], start: int) -> int:
    """Return the index of the parenthesis that closes the one at an index."""
    depth = 0
    for index in range(start, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index][1], 0)
        if depth == 0:
            return index
    return len(tokens)


def named(text: str) -> str:
    """Return a name in TeX: ``tau_syn`` is a tau with an index."""
    root, _, index = text.partition("_")
    if index and (root in GREEK or len(root) == 1):
        return f"{named(root)}_{{{named(index)}}}"
    if text in ("lamb", "integral", "sum"):
        return {"lamb": r"\lambda", "integral": r"\int", "sum": r"\sum"}[text]
    if text in GREEK | FUNCTIONS:
        return rf"\{text}"
    return text if len(text) < 2 or not text[0].isalpha() else rf"\text{{{text}}}"
