"""Tables of papers, trained again: ``python -m examples.papers ecg --seeds 5``."""
