"""Write networks as files of ONNX, with the loop over time inside, which run without Python.

    export         a SpikingNet, or a layer, as a file for any number of steps and samples
    export_scan    a step, as ``functional.scan`` runs it
    rest           the state from which a stream begins

They need the packages onnx, onnxscript and onnxruntime: the extra ``onnx``. The format: https://onnx.ai/onnx.
"""

try:
    import onnx_ir as _onnx_ir
    import onnxscript as _onnxscript
except ModuleNotFoundError as error:
    if error.name not in ("onnx_ir", "onnxscript", "onnx"):
        raise
    raise ModuleNotFoundError(
        f"spikingtorch.interop.onnx needs the package {error.name}: pip install 'spikingtorch[onnx]'", name=error.name
    ) from error

from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.export import export, rest
from spikingtorch.interop.onnx.steps import export_scan

__all__ = ["ONNXError", "export", "export_scan", "rest"]
del _onnx_ir, _onnxscript
