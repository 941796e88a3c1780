"""Verification of gradients: the table of cases, their oracles, and the comparison with the twin."""
