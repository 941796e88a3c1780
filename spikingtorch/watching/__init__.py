"""Watch a network: records, spike counts during training, and costs."""
