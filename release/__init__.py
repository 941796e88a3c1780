"""What a maintainer runs: ``make lock`` and ``make release``."""
