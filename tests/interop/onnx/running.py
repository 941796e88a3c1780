"""Run files of ONNX, after the checks of the format and without a warning of the runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from torch import Tensor

# of warnings and errors
_SAYS = 2


def opened(path: Path) -> Any:
    """Return a session of a file that the checker and strict inference of shapes accept."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert {each.domain for each in model.opset_import} <= {""}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, _SAYS
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ran(session: Any, state: dict[str, Any], **xs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the outputs of a call, and the state after it, as it is handed to the next one."""
    given = {f"state.{name}": value for name, value in state.items()} | xs
    feeds = {name: each.numpy() if isinstance(each, Tensor) else each for name, each in given.items()}
    found = dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))
    after = {name: found.pop(f"next.{name}") for name in state}
    return found, after


def equal(a: Any, b: Any) -> Any:
    """Return where two arrays are equal, or both NaN."""
    return (a == b) | (np.isnan(a) & np.isnan(b))
