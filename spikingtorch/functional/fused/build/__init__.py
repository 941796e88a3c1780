"""Source code becomes a library, which is kept on disk."""
