"""What shows that the gradients are right: the table of cases, their oracles, and the comparison with the twin."""
