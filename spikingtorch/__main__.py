"""Commands: ``python -m spikingtorch verify``."""

import sys

USAGE = """usage: python -m spikingtorch COMMAND

  verify    check every neuron, surrogate and reset rule against its JAX twin; --help says more
"""


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    if arguments[:1] != ["verify"]:
        print(USAGE, file=sys.stderr, end="")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        from spikingtorch.verification.table import main as verify
    except ModuleNotFoundError as error:
        if error.name not in ("jax", "jaxlib", "tqdm"):
            raise
        print(f"verify needs {error.name}: pip install 'spikingtorch[jax]'", file=sys.stderr)
        return 2
    return verify(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
