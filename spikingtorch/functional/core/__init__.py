"""What everything else stands on: trees, the contract of a step, modes of torch, a bounded cache."""
