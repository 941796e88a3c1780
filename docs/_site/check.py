"""Check the links of the built site: ``python docs/_site/check.py docs/_build/html``.

Sphinx checks references between pages. This looks at what came out: each link within the site has its page and its
anchor, each picture and script its file, and nothing but MathJax comes from elsewhere.
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SOURCES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "srcset"}


class Page(HTMLParser):
    """The anchors and the links of one page.

    Attributes:
        anchors: what a link may name behind ``#``.
        links: each with the tag that it stands in.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag has of both."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        target = given.get(SOURCES.get(tag, ""))
        # the way back from a source names one module, of an object that is shown under two
        back = "viewcode-back" in (given.get("class") or "")
        if target and not back and given.get("rel") not in ("canonical", "search"):
            self.links.append((tag, target))


def broken(folder: Path) -> Iterator[str]:
    r"""Yield a line for each link of the site in a folder that leads nowhere, or loads a file from elsewhere.

    >>> from tempfile import mkdtemp
    >>> (site := Path(mkdtemp()) / "site").mkdir()
    >>> one = site.joinpath("a.html").write_text('<h1 id="x"></h1><a href="b.html#x">1</a><a href="b.html#y">2</a>')
    >>> two = site.joinpath("b.html").write_text('<p id="x"></p><img src="no.png"><script src="https://x.org/x.js">')
    >>> print(*broken(site), sep="\n")
    a.html: b.html#y has no such anchor
    b.html: no.png has no file
    b.html: https://x.org/x.js is loaded from elsewhere
    """
    files = [path.resolve() for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: Page(path.read_text()) for path in files}
    for path, page in pages.items():
        for tag, target in page.links:
            parts = urlsplit(target.split()[0] if tag == "source" else target)
            where = f"{path.relative_to(folder.resolve())}: {target}"
            if parts.scheme or parts.netloc:
                if tag != "a" and parts.scheme != "data":
                    yield f"{where} is loaded from elsewhere"
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file():
                yield f"{where} has no file"
            elif there in pages and unquote(parts.fragment) not in pages[there].anchors:
                yield f"{where} has no such anchor"


def main() -> int:
    """Print what is broken, and return the exit code."""
    found = sorted({*broken(Path(sys.argv[1]))})
    print("\n".join(found) or "every link within the site leads somewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
