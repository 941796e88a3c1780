"""The error of an export to ONNX."""


class ONNXError(ValueError):
    """A network cannot become a file of ONNX, or the file computes something else."""
