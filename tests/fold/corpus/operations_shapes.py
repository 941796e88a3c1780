"""Calls judged by their shapes alone.

Of operations that no processor here runs, or that torch takes apart before they are noted; and calls that torch, or
another part of the proof, would refuse before the rule is asked, so that each rule is right by itself.
"""

from typing import Any

import torch

from spikingtorch.fold.judge import judge
from spikingtorch.fold.operations import Batch, Operation, Value, values_in
from spikingtorch.fold.proof import _merged, _Proof
from spikingtorch.fold.rules import rows_of_all
from spikingtorch.fold.trace import BATCH_NORM, LAYER, PARAMETERS, RETURNED, Objection, TracedCall, TracedTensor
from tests.fold.corpus.operations_layers import MATRICES, SPACE

N, N2, N4 = Batch(1), Batch(2), Batch(4)
OWN = "spikingtorch_rules::full_like"  # a user's, who says that it keeps rows apart


def value(*shape: int | Batch, outer: int = 1, dtype: torch.dtype = torch.float32) -> Value:
    return Value(None, shape, 0, dtype, outer=outer)


def judged(name: str, made: Value | tuple[Value, ...], *given: Any, **more: Any) -> int:
    """Return the outer factor that the rules give to what comes out of a call.

    Raises:
        Objection: it mixes samples.
    """
    space, _, name = name.rpartition("::")
    packet, _, overload = name.partition(".")
    func = getattr(getattr(getattr(torch.ops, space or "aten"), packet), overload or "default")
    named = dict(zip([argument.name for argument in func._schema.arguments], given, strict=False)) | more
    outs = list(made) if isinstance(made, tuple) else [made]
    return judge(
        Operation(TracedCall(func, named, (made,), ("", 0), True), named, values_in(named), outs),
        {OWN.replace("::", "."): rows_of_all},
    )


def told(func: str, *tensors: Value) -> None:
    """Judge what is no operation of torch.

    Raises:
        Objection: it takes what is not of samples, or is.
        ValueError: the objection says something else.
    """
    proof = _Proof.__new__(_Proof)
    proof.poison, proof.sums, proof.outer = {}, set(), {}
    try:
        proof._judge(Operation(TracedCall(func, tensors, (), ("", 0), True), {}, list(tensors), []), False)
    except Objection as objection:
        if SAYS[func] not in str(objection):
            raise ValueError(f"{func}: {objection}") from None
        raise


def outer_of(made: Value | tuple[Value, ...]) -> int:
    outs = made if isinstance(made, tuple) else (made,)
    return next((out.outer for out in outs), 1)


def merged(a: Any, b: Any) -> Any:
    """Return what is given as a size in both traces; None where there is none."""
    try:
        return _merged(a, b, "size", "size")
    except Objection:
        return None


def noted(*shape: int) -> TracedTensor:
    return TracedTensor(0, shape, 0, torch.float32)


# sizes of 7 and of 11 samples
MERGED: dict[tuple[Any, Any], Any] = {(5, 5): 5, (0, 0): 0, (7, 11): N, (14, 22): N2, (28, 44): N4}
MERGED |= dict.fromkeys([(8, 12), (7, 12), (8, 11), (14, 21), (11, 7), (1, 0), (15, 22), (14, 23)])
MERGED |= dict.fromkeys([((7.0,), (11.0,)), (6, 6.0), ((7,), (11, 11)), ((6, 6), 6), (None, 7)])
MERGED |= {(noted(7, 6), noted(11, 6)): Value(0, (N, 6), 0, torch.float32), (noted(7, 14), noted(11, 22)): None}
MERGED |= dict.fromkeys([(noted(7, 6), noted(11, 6, 1)), (noted(6), None), (None, noted(6)), (noted(6), 6)])

X, X4, W, C = value(N, 6), value(N4, 6, outer=2), value(6, 6), value(4)
IMAGE, TURNED = value(N, 4, 8, 8), value(4, N, 8, 8)
Q, OTHER, LAST = value(N2, 2, 4, 8, outer=2), value(N2, 2, 4, 8), value(2, 4, 8, N)
CUBE, M4 = value(N, 6, 6), value(N4, 3, 3, outer=2)
CONV = ([1], [0], [1], False, [0])
END = 2**63 - 1
TRI = ([1, 3], [0], [1, 2], [2, 3])

# name, what comes out, arguments in order, and by name
KEPT: list[tuple[Any, ...]] = [
    ("expand", X4, X4, [-1, -1]),
    ("scatter.src", X4, X4, 1, X4, value()),
    ("index_select", X4, W, 0, value(N4, outer=2)),
    ("stack.out", value(N, 2, 6), [X, X], 1, value(N, 2, 6)),
    *(("slice.Tensor", X, X, 0, *part) for part in ((0, N, 1), (None, None, 1), (0, END, 1))),
    ("slice.Tensor", value(6, N), value(6, N), 1, 0, N, 1),
    ("linear", X4, X4, W, value(6)),
    ("linear", value(2, N2, 6, outer=2), value(2, N2, 6, outer=2), W),
    ("avg_pool1d", value(4, N, 4), value(4, N, 8), [2]),
    ("native_group_norm", value(N4, 6, 4, outer=2), value(N4, 6, 4, outer=2), None, None, N4, 6, 4, 2, 1e-5),
    ("_native_multi_head_attention", CUBE, CUBE, CUBE, CUBE, 6, 2, W, C, W, C, value(N, 6)),
    ("native_layer_norm", X4, X4, [6], value(6), value(6), 1e-5),
    ("embedding", X4, W, value(N4, outer=2)),
    ("index.Tensor", value(6, N), W, [value(6, N), value(N)]),
    ("index.Tensor", X4, X4, [None, value(6)]),
    ("index_put", X4, X4, [value(N4, 6, outer=2, dtype=torch.bool)], value()),
    ("repeat", X4, X4, [1, 1]),
    ("constant_pad_nd", X4, X4, [1, -1]),
    *(
        (f"{name}_batch_norm", image, image, C, C, C, C, False, 0.1, 1e-5)
        for name in ("cudnn", "miopen")
        for image in (IMAGE, value(N4, 4, 8, outer=2))
    ),
    *(
        (f"{name}_batch_norm", TURNED, TURNED, value(N), None, None, None, True, 0.1, 1e-5)
        for name in ("cudnn", "miopen")
    ),
    ("_scaled_dot_product_flash_attention", (Q, value()), Q, Q, Q),
    ("_scaled_dot_product_efficient_attention", Q, Q, Q, Q, value(4, 4), True),
    ("_scaled_dot_product_efficient_attention", Q, Q, Q, Q, value(N2, 2, 4, 4, outer=2), True),
    ("_scaled_dot_product_cudnn_attention", Q, Q, Q, Q, None, True),
    ("_scaled_dot_product_flash_attention", (C, C), C, C, C, 0.0),
    ("native_dropout", (C, C), C, 0.5, False),
    ("rrelu_with_noise", C, C, C, 0.1, 0.3, False),
    ("normal.Tensor_float", X4, X4, 1.0),
    ("exp", C, C),
    ("unfold", value(2, N, 3), value(6, N), 0, 3, 3),
    ("diagonal", value(N, 4), value(4, N, 4), 0, 0, 2),
    ("_fft_r2c", value(4, N), value(6, N), [0], 0, True),
    ("_transformer_encoder_layer_fwd", CUBE, CUBE, 6, 2, W, C, W, C, False, False, 1e-5, *[C] * 8, value(N, 6)),
    ("_native_batch_norm_legit_no_training", TURNED, TURNED, value(N), None, C, C, 0.1, 1e-5),
    ("_batch_norm_no_update", TURNED, TURNED, value(N), None, C, C, 0.1, 1e-5),
    ("view_as_complex", value(6, N), value(6, N, 2)),
    ("_reshape_alias", value(2, 3, N), value(6, N), [2, 3, N], [3, 1, 1]),
    ("repeat", value(2, N, 12), X, [2, 1, 2]),
    ("repeat.out", X, value(6), [N, 1], X),
    ("_reshape_alias", value(N, 2, 3), X, [N, 2, 3], [6, 3, 1]),
    ("index.Tensor", X, X, [None]),
    ("_fused_sdp_choice", (), C, C, C, None, 0.5),
    *((name, value(2, N, 4, 8, 8), value(2, N, 4, 8, 8)) for name in ("fractional_max_pool2d", "im2col", "col2im")),
    (OWN, X, X),
]
MIXING: list[tuple[Any, ...]] = [
    ("mul.Tensor", X, X, value(N)),
    ("mul.Tensor", X, X, value(N2, 6)),
    ("exp", value(6, N), X),
    ("bucketize.Tensor", X, X, X),
    ("searchsorted.Tensor", X, W, X),
    ("view", value(1), X, [1]),
    ("expand", value(6, N), X, [6, N]),
    ("expand", value(N2, 6), X, [N2, 6]),
    ("linalg_cross", value(3, N, 6), value(3, N, 6), X, -1),
    ("index_add", X, W, 0, value(N), W),
    ("index_select", value(6, N), W, 0, value(N)),
    ("cat", X, [X, W], 1),
    ("cat", C, [X, X], 1),
    *(("slice.Tensor", X, X, 0, *part) for part in ((1, END, 1), (0, 5, 1), (0, None, 2), (0, N2, 1))),
    ("slice.Tensor", X, X, 1, 0, N, 1),
    ("slice.Tensor", C, value(6), 0, 0, N, 1),
    ("einsum", X, "nna->na", [value(N, N, 6)]),
    ("einsum", value(N, N, 6, 6), "na,mb->nmab", [X, X]),
    ("_reshape_alias", value(6, N), X, [6, N], [N, 1]),
    ("mv", value(6), W, value(N)),
    ("mm", W, value(6, N), W),
    ("mm", W, W, X),
    ("bmm", value(N, 2, 6), value(N, 2, 2), value(2, 6, N)),
    ("linear", W, value(6, N), W),
    ("linear", X, X, W, value(N, 1)),
    ("avg_pool1d", value(4, 8, N), value(4, 8, N), [1]),
    ("convolution", CUBE, CUBE, value(N, 6, 3), None, *CONV, 1),
    ("convolution", value(2, N, 4), value(2, N, 8), value(N, 1, 3), value(6), *CONV, N),
    ("convolution", value(2, N, 4), value(N, 2, 8), value(N, 1, 3), None, *CONV, N),
    ("native_layer_norm", X, X, [6], X, None, 1e-5),
    ("index_put", W, W, [value(N)], X),
    ("index.Tensor", X, W, [value(N, 1), value(6)]),
    ("index_put", X, X, [X], value(6)),
    ("index_put", value(6, N), value(6, N), [value(N)], value()),
    ("index_put", value(N, 6, 5), value(N, 6, 5), [None, value(2, 3)], value(N, 3, 5)),
    ("index.Tensor", X, X, [X]),
    ("_cdist_forward", W, value(6, N), W, 2.0, None),
    ("_cdist_forward", W, W, value(6, N), 2.0, None),
    ("_cdist_forward", X, X, X, 2.0, None),
    ("_cdist_forward", X, X, W, 2.0, None),  # measured by products from 26 samples on
    ("_cdist_forward", X, X, W, 2.0, 0),
    ("_trilinear", X, W, W, X, *TRI),
    ("_trilinear", X, X, W, W, *TRI),
    ("_trilinear", X, X, W, X, *TRI[:3], [0, 2, 3]),
    *((f"{name}_batch_norm", IMAGE, IMAGE, C, C, C, C, True, 0.1, 1e-5) for name in ("cudnn", "miopen")),
    *((f"{name}_batch_norm", IMAGE, IMAGE, value(N), C, C, C, False, 0.1, 1e-5) for name in ("cudnn", "miopen")),
    ("cudnn_batch_norm", TURNED, TURNED, value(N, outer=2), C, C, C, False, 0.1, 1e-5),
    ("cudnn_batch_norm", C, C, value(N), C, C, C, False, 0.1, 1e-5),
    ("_scaled_dot_product_flash_attention", (C, C), C, C, C, 0.5),
    ("searchsorted.Tensor", X, value(6), X, False, False, None, X),
    *((name, X, X, *more, 0) for name, more in (("topk", [2]), ("split.Tensor", [2]), ("unsafe_split.Tensor", [2]))),
    ("split_with_sizes", X, X, [1, 1], 0),
    ("_fft_r2c", X, X, [0], 0, True),
    ("_fft_c2r", X, X, [0], 0, 7),
    ("slice_scatter", X, X, X, 0),
    ("addmm", X, W, X, X),
    ("bmm", *[value(2, N, 6)] * 3),
    ("baddbmm", *[value(2, N, 6)] * 4),
    ("channel_shuffle", TURNED, TURNED, 2),
    ("grid_sampler_2d", TURNED, TURNED, TURNED),
    ("grid_sampler_3d", TURNED, TURNED, TURNED),
    ("multinomial", value(6, N), value(6, N), 6),
    ("_native_batch_norm_legit_no_training", IMAGE, IMAGE, IMAGE, None, C, C, 0.1, 1e-5),
    ("_batch_norm_no_update", IMAGE, IMAGE, IMAGE, None, C, C, 0.1, 1e-5),
    ("arange", value(N), 7),
    ("_unsafe_view.out", value(N), value(1), [N], value(N)),
    ("index_select", X, X, 1, X),
    ("mv.out", value(6), W, value(6), value(6, N)),
    ("mv.out", value(N), X, value(6), C),
    ("_trilinear", X, X, value(6, N, 6), X, *TRI),
    ("bmm", CUBE, X, CUBE),
    ("diagonal", C, value(4, N, 4), 0, None, 2),
    ("affine_grid_generator", value(2, N, 8, 2), value(N, 2, 3), [2, 1, N, 8]),
    ("multinomial", value(6, N), X, 6),
    (OWN, value(6, N), value(6, N)),
]
for _name in ("flash", "efficient", "cudnn"):
    _full = f"_scaled_dot_product_{_name}_attention"
    MIXING += [(_full, Q, Q, OTHER, Q), (_full, Q, Q, Q, OTHER), (_full, LAST, LAST, LAST, LAST)]
    MIXING += [(_full, Q, Q, value(1, 2, 4, 8), Q), (_full, Q, value(1, 2, 4, 8), Q, Q)]
    MIXING += [] if _name == "flash" else [(_full, Q, Q, Q, Q, value(N2, 2, 4, 4), True)]
SAYS = {
    LAYER: "hands a spiking layer an input whose first axis is not the batch",
    RETURNED: "returns something whose first axis is not the batch",
    PARAMETERS: "has neurons whose parameters come from the batch",
    BATCH_NORM: "normalises over the batch",
}
# of layers, their parameters, what is returned, and batch norm
TOLD_KEPT: list[tuple[Any, ...]] = [
    (LAYER, X),
    (LAYER, X, value(N)),
    (RETURNED, X),
    (PARAMETERS, C),
    (BATCH_NORM, X, C, C),
    (BATCH_NORM, value(N2, 3)),
]
TOLD_MIXING: list[tuple[Any, ...]] = [
    *((func, each) for func in (LAYER, RETURNED) for each in (value(6, N), value(N2, 6), C)),
    *((BATCH_NORM, *each) for each in ((value(6, N), C), (X, value(N)), (value(N2, 6, outer=2), C))),
    (PARAMETERS, X),
]
# in the axes of space, or of matrices; any may come before them
BEFORE = [name for name in (*SPACE, *MATRICES) if name != "_linalg_check_errors"]
MIXING += [(name, value(2, 2, 4, 8, N), value(2, 2, 4, 8, N)) for name in BEFORE]
