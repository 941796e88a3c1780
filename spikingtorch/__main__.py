"""``python -m spikingtorch``, as ``spikingtorch.cli`` has it."""

import sys

from spikingtorch.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
