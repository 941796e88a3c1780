"""Examples, each run from the repository's root: ``python -m examples.if_mnist``."""
