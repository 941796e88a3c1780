"""Commands: ``python -m spikingtorch verify``, ``report``, ``nir`` and ``cache``."""

import sys

USAGE = """usage: python -m spikingtorch COMMAND

  verify    check every neuron, surrogate and reset rule against its JAX twin; --help says more
  report    write one HTML page about a network: curves, cost, rates, advice, gradients; --help says more
  nir       show a NIR file, certify it, and compare it with the limits of platforms; --help says more
  cache     show or clear the compiled kernels on disk; --help says more
"""


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    match arguments[:1]:
        case ["verify"]:
            return _verify(arguments[1:])
        case ["report"]:
            from spikingtorch.report_command import main as report

            return report(arguments[1:])
        case ["nir"]:
            return _nir(arguments[1:])
        case ["cache"]:
            from spikingtorch.cache_command import main as cache

            return cache(arguments[1:])
        case _:
            print(USAGE, file=sys.stderr, end="")
            return 0 if arguments in (["-h"], ["--help"]) else 2


def _verify(arguments: list[str]) -> int:
    try:
        from spikingtorch.verify_command import main as verify
    except ModuleNotFoundError as error:
        if error.name not in ("jax", "jaxlib", "tqdm"):
            raise
        print(f"verify needs {error.name}: pip install 'spikingtorch[jax]'", file=sys.stderr)
        return 2
    return verify(arguments)


def _nir(arguments: list[str]) -> int:
    try:
        import spikingtorch.interop.nir  # it says which nir is needed  # noqa: F401
        from spikingtorch.nir_command import main as nir
    except ImportError as error:
        if error.name != "nir":
            raise
        print(error, file=sys.stderr)
        return 2
    return nir(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
