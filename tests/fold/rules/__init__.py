"""An oracle of numbers for the rules of the fold, calls for each of them, and mutants of them."""
