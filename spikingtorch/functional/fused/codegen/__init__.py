"""A program becomes source code."""
