"""The steps of ``spikingtorch.like``: pure functions in another library's order of operations."""
