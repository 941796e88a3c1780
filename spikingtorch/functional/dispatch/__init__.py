"""From a call of scan to the code that runs it: the call, the choice of a backend, and the executable."""
