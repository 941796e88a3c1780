"""One corpus of the networks that the fold is asked about: one reason for each entry."""
