"""What importing costs, and which names are in sight."""

import subprocess
import sys

import pytest

import spikingtorch

IMPORTED = """
import sys, warnings, spikingtorch
print(sorted({"jax", "matplotlib", "mlxtend", "torchvision", "functional"} & set(sys.modules)))
warnings.simplefilter("ignore")
print([name for name in dir(spikingtorch) if not hasattr(spikingtorch, name)])
"""


def test_import_is_lean_and_every_name_in_sight_is_there() -> None:
    """Such as ``st.init``, which no script has imported yet."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORTED], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n[]\n"
    assert "init" in dir(spikingtorch)
    for name, where in {"plots": "$", "Leaky": "; there is .*snntorch.Leaky", "GradedLIF": "; there is LIF"}.items():
        with pytest.raises(AttributeError, match=f"module 'spikingtorch' has no attribute '{name}'{where}"):
            getattr(spikingtorch, name)
    assert not {"cross_entropy", "rates"} & {*dir(spikingtorch.losses)}
