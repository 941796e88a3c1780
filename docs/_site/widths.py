"""What is cut at the right of the built site's pages: ``python docs/_site/widths.py``, where Chromium is installed.

Each page is laid out on a telephone and on a laptop, 390 and 1280 pixels wide. A block is cut where its content is
wider than itself, so that a reader has to scroll it sideways.
"""

import functools
import json
import re
import subprocess
import sys
import tempfile
import threading
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BUILT = Path(__file__).parents[1] / "_build" / "html"
WIDTHS = (390, 1280)
BLOCKS = "pre, table, p, li, dt, img, svg, div.math, .cell_output"
LOOK = r"""<iframe id=f height=900></iframe><script>
const frame = document.getElementById("f"), found = [], frames = PAGES.flatMap(p => WIDTHS.map(w => [p, w]));
function next() {
  if (!frames.length) { document.body.innerText = "found " + JSON.stringify(found) + " end"; return; }
  const [page, width] = frames.shift();
  frame.style.width = width + "px";
  frame.onload = () => {
    const inside = frame.contentDocument.querySelectorAll(".bd-article :is(BLOCKS)");
    const cut = [...inside].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1);
    const inner = cut.filter(e => !cut.some(o => o !== e && o.contains(e)));
    const texts = inner.map(e => e.tagName + " " + e.innerText.replace(/\s+/g, " ").slice(0, 90));
    if (texts.length) found.push([page, width, texts]);
    next();
  };
  frame.src = "/" + page;
}
next();
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the site without a line for each file."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def cut(pages: list[str]) -> list[tuple[str, int, list[str]]]:
    """Return for each page and width the blocks that are cut."""
    look = LOOK.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS)).replace("BLOCKS", BLOCKS)
    (BUILT / "look.html").write_text(look)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=BUILT)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/look.html"
        with tempfile.TemporaryDirectory() as profile:
            options = ["--headless=new", "--no-sandbox", "--window-size=1400,1000", f"--user-data-dir={profile}"]
            command = ["chromium", *options, "--virtual-time-budget=10000000", "--dump-dom", address]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        server.shutdown()
    (BUILT / "look.html").unlink()
    text = re.search(r"found (.*) end", said, re.DOTALL)
    assert text is not None, "Chromium has not come to the end of the pages"
    return json.loads(unescape(text[1].replace("<br>", "\\n")))  # type: ignore[no-any-return]


if __name__ == "__main__":
    every = sorted(path.relative_to(BUILT).as_posix() for path in BUILT.rglob("*.html") if "_modules" not in path.parts)
    wide = cut(sys.argv[1:] or [page for page in every if "_static" not in page])
    for page, width, blocks in wide:
        print(f"{page} at {width} pixels:", *blocks, sep="\n    ")
    sys.exit(bool(wide))
