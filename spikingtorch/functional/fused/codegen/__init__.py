"""Print a program as source code."""
