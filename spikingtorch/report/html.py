"""Elements of a page. Text that is not HTML is escaped, so it cannot become markup."""

import html
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is already HTML."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | None) -> Html:
    """Return an element with its children.

    Args:
        tag: its name.
        children: children; HTML stays unchanged, and other text is escaped.
        attributes: attributes, escaped; None leaves one out. ``class_`` is class, and ``aria_label`` is aria-label.

    >>> element("p", "a < b ", element("b", "c"), class_="note")
    '<p class="note">a &lt; b <b>c</b></p>'
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    shown = "".join(f' {name}="{html.escape(value)}"' for name, value in given.items())
    return Html(f"<{tag}{shown}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Html:
    """Return the joined parts: HTML unchanged, and other text escaped."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def paragraph(*children: str, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *children, class_=class_)


def code(text: str) -> Html:
    """Return a name of the program for use in a sentence."""
    return element("code", text)


def listing(text: str) -> Html:
    """Return some lines of code."""
    return element("pre", element("code", text), tabindex="0")


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = (), foot: bool = False
) -> Html:
    """Return a table that scrolls if it is too wide.

    Args:
        caption: a description of the table.
        head: names of its columns.
        rows: their cells; the first of each row is its name.
        numbers: columns of numbers, which are aligned to the right.
        foot: whether the last row is a total.
    """
    right = {*numbers}

    def row(cells: Sequence[str]) -> Html:
        first, *others = cells
        name = element("th", first, scope="row")
        return element("tr", name, *[_cell("td", k, cell, right) for k, cell in enumerate(others, 1)])

    titles = element("tr", *[_cell("th", k, title, right, scope="col") for k, title in enumerate(head)])
    body = [row(cells) for cells in rows]
    parts = [element("thead", titles), element("tbody", *body[: len(body) - foot])]
    parts += [element("tfoot", *body[len(body) - foot :])] if foot else []
    whole = element("table", element("caption", element("span", caption)), *parts)
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(tag: str, column: int, text: str, right: set[int], **attributes: str) -> Html:
    return element(tag, text, class_="n" if column in right else None, **attributes)
