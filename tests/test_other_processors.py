"""A sample of the tests as they run on other processors: torch, oneDNN and MKL are told to take fewer instructions.

``make test`` runs them with all that there is, on all threads.

The same with tests of your choice: ATEN_CPU_CAPABILITY=default .venv/bin/python -m pytest tests/layers
"""

import pytest

from tests.processes import python

# where sums of torch meet those of kernels or of other shapes, and numbers that torch draws meet numbers in files
SAMPLE = (
    "tests/event_driven",
    "tests/functional/sparse/test_values.py",
    "tests/functional/sparse/test_layout.py",
    "tests/functional/fused/runtime/recurrent/test_values.py::test_weight_gradient_as_the_loop",
    "tests/fold/test_batch_norm.py",
    "tests/interop/nir/peers",
    "tests/plot/test_phase_plane.py",
)
ATEN, ONEDNN, MKL, THREADS = "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "OMP_NUM_THREADS"
PROCESSORS = {
    "no vectors": {ATEN: "default", ONEDNN: "SSE41", MKL: "COMPATIBLE", THREADS: "1"},
    "AVX2": {ATEN: "avx2", ONEDNN: "AVX2", MKL: "AVX2", THREADS: "1"},
}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_sample(processor: str) -> None:
    options = ("-n", 0, "-p", "no:cacheprovider", "--tb=short")
    python("-m", "pytest", *options, *SAMPLE, timeout=850, **PROCESSORS[processor])
