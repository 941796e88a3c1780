"""Run ``python -m spikingtorch``; see ``spikingtorch.cli``."""

import sys

from spikingtorch.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
