"""torch and XLA in one process: neither changes how the other's kernels take subnormal numbers.

XLA's threads take them for zero, and OpenMP's threads are born with the mode of the thread that calls first.
"""

import pytest

from tests.processes import python

ORDERS = [
    # a team of OpenMP's threads that is born on a thread of XLA
    "of_torch_in_jax of_torch of_jax of_torch",
    "of_torch of_torch_in_jax of_torch of_jax",
    "of_torch of_jax of_torch",
    "of_jax of_torch of_jax",
    "of_xla of_torch of_jax",
    "of_xla of_jax of_torch",
]


@pytest.mark.sampled
@pytest.mark.parametrize("order", ORDERS)
def test_every_order(order: str) -> None:
    of_callback = {"exact", "0 of 4096 not zero"}  # as the calling thread does, which is XLA's own business
    for line in python("-m", "tests.jax.two_runtimes", *order.split()).splitlines():
        name, _, found = line.partition(" ")
        assert found in (of_callback if name == "of_torch_in_jax" else {"exact"}), f"{name}: {found}"
