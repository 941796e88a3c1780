"""From a call of scan to what runs it: the call, whether it can be fused, and the executable."""
