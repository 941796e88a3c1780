"""The settings of torch under which float sums of whole numbers are exact."""

from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.modes import HOST
from spikingtorch.quantize.errors import IntegerError


def check_settings(model: nn.Module, x: Tensor) -> None:
    """Raise unless a network computes plain sums in float32 or float64.

    Raises:
        IntegerError: the network or its input is in another dtype or on another device than the CPU, autocast is on,
            or convolutions run without oneDNN (mkldnn), whose other ways multiply sums of weights and so round.
    """
    tensors = [*model.parameters(), x]
    wrong = next((each for each in tensors if each.dtype not in (torch.float32, torch.float64)), None)
    if wrong is not None:
        raise IntegerError(
            "", "dtype", f"the network and its input have {wrong.dtype}, expected float32: model.float()"
        )
    elsewhere = next((each for each in tensors if each.device.type != HOST.type), None)
    if elsewhere is not None:
        raise IntegerError(
            "",
            "dtype",
            f"the network or its input is on {elsewhere.device}, whose libraries may sum in a way of their own. Use "
            "model.cpu() and x.cpu()",
        )
    if torch.is_autocast_enabled(HOST.type):
        dtype = torch.get_autocast_dtype(HOST.type)
        raise IntegerError("", "dtype", f"autocast rounds sums to {dtype}; call it outside of torch.autocast")
    convolution = next((name for name, each in model.named_modules() if isinstance(each, nn.Conv2d)), None)
    if convolution is not None and x.dtype == torch.float32 and not has_plain_convolutions():
        raise IntegerError(
            convolution.removeprefix("net."),
            "plain",
            "without oneDNN torch may compute a convolution in Winograd's way, which rounds. Set "
            "torch.backends.mkldnn.enabled = True",
        )


def has_plain_convolutions() -> bool:
    """Return whether convolutions in float32 add products of weights and inputs, and nothing else."""
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and mkldnn.enabled)


def settings_in_words(x: Tensor) -> str:
    """Return the settings of a run, for a certificate."""
    dtype = str(x.dtype).removeprefix("torch.")
    return f"torch {torch.__version__}, {dtype} on the CPU, {torch.get_num_threads()} threads, oneDNN on, autocast off"
