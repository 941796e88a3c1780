"""The page of ``make browser`` in Chromium: digits are drawn by a script, read, and their spikes shown, offline."""

import functools
import json
import shutil
import subprocess
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import onnxruntime
import pytest
import torch

from examples import data
from examples.browser.__main__ import Handler, build, npm
from examples.deploy import NETWORK, STEPS, at_rest
from spikingtorch.spikeio import PoissonEncoder

# strokes of digits, points in hundredths of the pad
STROKES = {
    "1": [[[52, 20], [50, 40], [48, 60], [46, 80]]],
    "7": [[[30, 22], [50, 22], [70, 22], [62, 40], [54, 60], [46, 80]]],
    "0": [[[50, 20], [34, 30], [28, 50], [34, 70], [50, 80], [66, 70], [72, 50], [66, 30], [50, 20]]],
    # small, and in a corner
    "3": [[[23, 60], [30, 57], [36, 61], [35, 67], [28, 69], [36, 72], [38, 77], [32, 83], [23, 80]]],
}
VISIT = """<iframe id=page src="index.html" width=900 height=1200></iframe><script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms)), frame = document.getElementById("page");
const find = (id) => frame.contentDocument.getElementById(id);
async function drawn(strokes) {
  find("clear").click();
  const pad = find("pad"), {left, top, width} = pad.getBoundingClientRect();
  for (const stroke of strokes) for (const [i, [x, y]] of [...stroke, stroke.at(-1)].entries()) {
    const kind = i === 0 ? "pointerdown" : i === stroke.length ? "pointerup" : "pointermove";
    const at = {clientX: left + x * width / 100, clientY: top + y * width / 100, bubbles: true};
    pad.dispatchEvent(new frame.contentWindow.PointerEvent(kind, at));
  }
  await wait(2500);
  const raster = find("raster"), {data} = raster.getContext("2d").getImageData(30, 0, raster.width, raster.height);
  return [find("digit").textContent, data.filter((value, i) => i % 4 === 3 && value).length];
}
(async () => {
  while (!find("said")?.textContent.startsWith("Draw")) await wait(50);
  const read = {};
  for (const [digit, strokes] of Object.entries(STROKES)) read[digit] = await drawn(strokes);
  const hosts = frame.contentWindow.performance.getEntriesByType("resource").map(({name}) => new URL(name).host);
  fetch("/found", {method: "POST", body: JSON.stringify({read, hosts, here: location.host})});
})();
</script>"""


def visited(folder: Path, chromium: str) -> dict[str, Any]:
    """Return what the script of a visit finds on the page, in a browser that reaches this machine alone."""
    found: Queue[bytes] = Queue()

    class Answers(Handler):
        def do_POST(self) -> None:
            found.put(self.rfile.read(int(self.headers["Content-Length"])))

    (folder / "visit.html").write_text(VISIT.replace("STROKES", json.dumps(STROKES)))
    quiet = "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update"
    options = [f"--{each}" for each in (*quiet.split(), "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")]
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Answers, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/visit.html"
        command = [chromium, *options, f"--user-data-dir={folder}/profile", "--remote-debugging-port=0", address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                return dict(json.loads(found.get(timeout=120)))
            finally:
                browser.terminate()
                server.shutdown()


@pytest.mark.night
@pytest.mark.timeout(900)  # it trains
def test_the_page_reads_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on the PATH")
    if subprocess.run([*npm(), "ping"], capture_output=True, check=False).returncode:
        pytest.skip("npm is missing, or does not reach its registry")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.chdir(tmp_path)
    folder = build()
    images, labels = data.load("digits")[1].tensors
    session = onnxruntime.InferenceSession(NETWORK)
    x = PoissonEncoder(STEPS, generator=torch.Generator().manual_seed(0))(images)
    (digits,) = session.run(["out.digits"], {"x": x.numpy(), **at_rest(session, len(x))})
    assert (torch.tensor(digits).sum(1).argmax(1) == labels).float().mean() >= 0.93
    found = visited(folder, chromium)
    assert {digit: read for digit, (read, _) in found["read"].items()} == {digit: digit for digit in STROKES}
    assert all(spikes > 100 for _, spikes in found["read"].values())
    assert {*found["hosts"]} == {found["here"]}
