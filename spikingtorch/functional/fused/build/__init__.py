"""Compile source code into a library, which is kept on disk."""
