"""Threads that start at once, and Python in a process of its own."""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PATHS = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
# what a Python begins with
BEGINS: dict[str, str | None] = {"PYTHONPATH": os.pathsep.join(PATHS), "OMP_NUM_THREADS": "2"}


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run functions in as many threads, all starting at once, and return what they return."""
    barrier, found = threading.Barrier(len(works)), dict[int, Any]()

    def run(index: int) -> None:
        barrier.wait(30)
        found[index] = works[index]()

    team = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(120)
    assert len(found) == len(works), "a thread hangs, or has failed"
    return [found[index] for index in range(len(works))]


def python(*command: object, timeout: float = 150, **variables: str | None) -> str:
    """Run Python in a process group of its own, with variables of the environment, and return what it prints.

    A variable that is None is not there. All of the group ends, even if it hangs.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(BEGINS | variables),
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{out}{err}"
    return out


def _environment(variables: Mapping[str, str | None]) -> dict[str, str]:
    found: dict[str, str | None] = {**os.environ, **variables}
    return {name: value for name, value in found.items() if value is not None}


# what tells glibc something when a process begins
OF_GLIBC: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))}
_SERVER = """
import json, os, sys
import spikingtorch
for line in sys.stdin:
    code, arguments, variables, *files = json.loads(line)
    pid = os.fork()
    if pid == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()
for number, file in enumerate(files, start=1):
    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
os.environ.clear()
os.environ.update(variables)
sys.argv[1:] = arguments
exec(code, {"__name__": "__main__"})
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Return a process that has imported the library, which takes seconds, and runs codes in children of its own."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = _environment(BEGINS | OF_GLIBC)
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], text=True, env=environment, cwd=ROOT, start_new_session=True, **pipes
    )
    atexit.register(_end, process)
    return process


def _end(server: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, BrokenPipeError), server:  # whose pipes are closed at the end
        os.killpg(server.pid, signal.SIGKILL)


def child(code: str, *arguments: object, **variables: str | None) -> str:
    """Run code in a new process in which the library is imported, and return what it prints.

    It begins with the variables of the environment here, and with the arguments in ``sys.argv``. Its end is that of any
    Python. All of its group ends if it hangs.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err")]
        request = code, [*map(str, arguments)], _environment(variables), *map(str, files)
        server.stdin.write(f"{json.dumps(request)}\n")
        server.stdin.flush()
        ended = select.select([server.stdout], [], [], 150)[0]
        if not ended:
            _server.cache_clear()
            _end(server)
        returned = server.stdout.readline() if ended else "it hangs"
        out, err = (file.read_text() if file.exists() else "" for file in files)
        assert returned == "0\n", f"{returned}{out}{err}"
    return out
