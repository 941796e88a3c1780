"""The command ``python -m spikingtorch cache``: show and clear the folder of compiled kernels."""

import argparse
import shutil
import sys
import time

from spikingtorch.functional.fused.build import cache
from spikingtorch.functional.fused.build.compiler import NoCompiler, find_compiler
from spikingtorch.units import counted

# the largest unit first, each with its seconds
UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m spikingtorch cache",
        description="Show or clear the folder of compiled kernels. SPIKINGTORCH_CACHE_DIR moves it.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("show", help="the compiler; where the kernels are, how many and how large (the default)")
    commands.add_parser("clear", help="remove them; a program that needs one compiles it again")
    return clear() if parser.parse_args(arguments).command == "clear" else show()


def show() -> int:
    """Print the compiler of kernels, their folder, their number, and the time of their last use."""
    kernels = cache.entries()
    try:
        print(f"compiler  {find_compiler()}")
    except NoCompiler as error:
        print(f"compiler  none; {error}")
    print(f"folder    {cache.cache_dir()}")
    print(f"kernels   {len(kernels)} of at most {cache.MAX_FILES}")
    print(f"size      {megabytes(sum(kernel.size for kernel in kernels))} of at most {megabytes(cache.MAX_BYTES)}")
    if kernels:
        print(f"oldest    last used {ago(time.time() - kernels[0].used)}")
        print(f"newest    last used {ago(time.time() - kernels[-1].used)}")
    return 0


def clear() -> int:
    """Remove the kernels and print their number; the exit code is 1 if some could not be removed.

    Compiled twins of ``verify`` are removed as well.
    """
    before = cache.entries()
    removed = cache.clear()
    shutil.rmtree(cache.cache_dir() / cache.PROGRAMS, ignore_errors=True)
    after = cache.entries()
    freed = sum(kernel.size for kernel in before) - sum(kernel.size for kernel in after)
    print(f"{counted(removed, 'kernel')} removed from {cache.cache_dir()}, {megabytes(freed)} freed")
    if after:
        print(f"{counted(len(after), 'kernel')} could not be removed, or came meanwhile", file=sys.stderr)
    return 1 if after else 0


def megabytes(size: int) -> str:
    """Return a size for people.

    >>> megabytes(256_000_000), megabytes(1_234_567), megabytes(0)
    ('256.0 MB', '1.2 MB', '0.0 MB')
    """
    return f"{size / 10**6:.1f} MB"


def ago(seconds: float) -> str:
    """Return a span of time for people.

    >>> ago(59.0), ago(60.0), ago(7300.0), ago(200_000.0)
    ('just now', '1 minute ago', '2 hours ago', '2 days ago')
    """
    for unit, length in UNITS:
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "just now"
