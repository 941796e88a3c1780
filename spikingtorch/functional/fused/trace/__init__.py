"""Trace a step to a program: run it once on examples and record its operations."""
