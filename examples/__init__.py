"""Examples, each run from the repository's root: ``python -m examples.if_mnist``."""

import os

# before torch is imported: threads that wait for each other sleep, and do not take a busy machine's cores from the rest
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
