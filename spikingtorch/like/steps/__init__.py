"""The steps behind ``spikingtorch.like``: pure functions in the order of operations of another library, a file each."""
