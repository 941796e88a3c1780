"""What the numbers were measured on and with."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = ("spikingtorch", "torch", "numpy", "spikingjelly", "snntorch", "norse", "sinabs", "jax", "jaxlib")


def describe() -> dict[str, str]:
    """Return the facts, by name, in the order in which to print them."""
    import torch

    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads of torch": str(torch.get_num_threads()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "C library": " ".join(platform.libc_ver()),
        "transparent huge pages": _chosen(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    return facts | {library: _version(library) for library in LIBRARIES}


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "unknown"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _chosen(path: Path) -> str:
    """Return the word in brackets, the kernel's way of marking what is on."""
    text = path.read_text() if path.exists() else "[unknown]"
    return text[text.index("[") + 1 : text.index("]")]
