"""Command line and sizes."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.case import Size

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Options:
    """What to run and how long.

    Args:
        backend: backend of ``scan`` that is under test.
        only: names of the sections to run, all when empty.
        quick: small sizes and few repetitions, to try the harness; its numbers mean nothing.
        threads: threads of every library, None for what each takes by itself.
        budget: seconds that the repetitions of one case may take.
        output: folder of the results.
    """

    backend: str = "fused"
    only: tuple[str, ...] = ()
    quick: bool = False
    threads: int | None = None
    budget: float = 15.0
    output: Path = RESULTS

    @property
    def repetitions(self) -> int:
        """Number of timed calls in one process."""
        return 3 if self.quick else 7

    @property
    def sizes(self) -> list[Size]:
        """Sizes at which the libraries are compared."""
        if self.quick:
            return [Size(T=60, B=4, N=512), Size(T=60, B=4, N=2048)]
        return [Size(T=500, B=16, N=N) for N in (512, 2048, 8192)]

    def size(self, N: int) -> Size:
        """Return the size of the comparison that has N neurons."""
        return next(size for size in self.sizes if size.N == N)


def parse(sections: Sequence[str], argv: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Args:
        sections: the names that --only knows.
        argv: arguments, those of the process by default.
    """
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sections, default=[], metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the harness")
    parser.add_argument("--backend", default=default.backend, help="backend of scan under test (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads of every library (each library's own default)")
    parser.add_argument("--budget", type=float, default=default.budget, help="seconds a case (%(default)s)")
    parser.add_argument("--output", type=Path, default=default.output, help="folder of the results (%(default)s)")
    args = parser.parse_args(argv)
    return Options(args.backend, tuple(args.only), args.quick, args.threads, args.budget, args.output)
