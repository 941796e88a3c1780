"""The scripts here import libraries that the tests do without; they are run by hand, one library at a time."""

collect_ignore_glob = ["write_*.py"]
