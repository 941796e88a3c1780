"""The settings of torch under which float sums of whole numbers are exact."""

from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.modes import HOST
from spikingtorch.quantize.errors import IntegerError


def check_settings(model: nn.Module, x: Tensor) -> None:
    """Raise unless a network computes plain sums in float32 or float64.

    Raises:
        TypeError: x is no tensor.
        IntegerError: the network or its input is in another dtype or on another device than the CPU, there are no
            samples, autocast is on, products of float32 may be rounded, or convolutions run without oneDNN (mkldnn),
            whose other ways multiply sums of weights and so round.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}, expected a tensor (N, T, ...)")
    for what, remedy, some in (("the network has", "model", [*model.parameters()]), ("the input is", "x", [x])):
        wrong = next((each.dtype for each in some if each.dtype not in (torch.float32, torch.float64)), None)
        if wrong is not None:
            raise IntegerError("", "dtype", f"{what} {wrong}, expected float32: {remedy}.float()")
    if x.numel() == 0:
        raise IntegerError(
            "", "input", f"the input of shape {tuple(x.shape)} is empty, and shows nothing; pass samples"
        )
    tensors = [*model.parameters(), x]
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
    fast = [name for name in ("matmul", "conv") if _precision(name) in ("bf16", "tf32")]
    if fast:
        raise IntegerError(
            "",
            "dtype",
            f"torch.backends.mkldnn.{fast[0]}.fp32_precision is {_precision(fast[0])!r}, so that torch may round what "
            "it multiplies. Set torch.set_float32_matmul_precision('highest'), or that attribute to 'ieee'",
        )
    convolution = next((name for name, each in model.named_modules() if isinstance(each, nn.Conv2d)), None)
    if convolution is not None and x.dtype == torch.float32 and not has_plain_convolutions():
        raise IntegerError(
            convolution.removeprefix("net."),
            "plain",
            "without oneDNN torch may compute a convolution in Winograd's way, which rounds. Set "
            "torch.backends.mkldnn.enabled = True",
        )


def _precision(name: str) -> str:
    """Return in what precision oneDNN multiplies float32."""
    mkldnn: Any = torch.backends.mkldnn
    return str(getattr(mkldnn, name).fp32_precision)


def has_plain_convolutions() -> bool:
    """Return whether convolutions in float32 add products of weights and inputs, and nothing else."""
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and mkldnn.enabled)


def settings_in_words(x: Tensor) -> str:
    """Return the settings of a run, for a certificate."""
    dtype = str(x.dtype).removeprefix("torch.")
    return f"torch {torch.__version__}, {dtype} on the CPU, {torch.get_num_threads()} threads, oneDNN on, autocast off"
