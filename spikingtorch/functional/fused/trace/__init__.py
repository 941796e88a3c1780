"""A step becomes a program: it is run once on examples, and its operations are recorded."""
