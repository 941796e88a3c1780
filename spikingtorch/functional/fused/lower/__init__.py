"""Lower operations of torch to scalar expressions of the program."""
