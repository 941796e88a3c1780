"""Rules: which operations keep the samples of a batch apart, and where the samples are in the result.

A rule is a function of a call. It raises ``Objection`` unless each sample of the result is computed from the same
sample of the arguments. It returns the outer factor of the result. An operation without a rule is an objection.
Constants are the same for all samples, and may be any argument.
"""

import math
from collections.abc import Iterable
from functools import partial

import torch

from spikingtorch.fold.operations import AXES, REDUCES, Batch, Operation, Rule, Value

_MOVES = "moves samples to another place of the batch"
_KEEP = "keep the batch the first axis"
_COMBINES = "combines the samples of a batch with each other"
SHARE = "what depends on the place of a sample in the batch would depend on the step"


def outer_of(op: Operation, tensors: Iterable[Value]) -> int:
    """Return the outer factor that tensors have in common."""
    found = {tensor.outer for tensor in tensors}
    op.need(len(found) == 1, _COMBINES, _KEEP)
    return found.pop()


def together(op: Operation, *, last: bool = True) -> int:
    """Check that all tensors with samples have them in the same place."""
    places = {(tensor.last if last else tensor.axis, tensor.k) for tensor in op.carrying}
    op.need(len(places) == 1, _COMBINES, _KEEP)
    return outer_of(op, op.carrying)


def pointwise(op: Operation) -> int:
    """f(a, b, ...) Each entry is computed from the entries in its place, broadcast from the last axis on."""
    outer = together(op)
    op.need(all(out.last == op.carrying[0].last for out in op.outs if out.axis is not None), _MOVES, _KEEP)
    return outer


def of_first(op: Operation) -> int:
    """Compute with the entries of the first tensor only; the others are the same for all samples."""
    op.need(op.carrying == op.tensors[:1], "takes from the batch what is to be the same for all samples")
    op.need(not op.named.get("assume_unique"), "takes the entries of a batch to differ from each other")
    return pointwise(op)


def of_second(op: Operation) -> int:
    """Look up the entries of the second tensor in a table with one axis."""
    op.need(op.carrying == op.tensors[1:2] and len(op.tensors[0].shape) == 1, "looks up samples in each other")
    return pointwise(op)


def row_major(op: Operation) -> int:
    """Keep the order of the entries, in axes of other sizes."""
    x, out = op.tensors[0], op.outs[0]
    a, b = x.axis, out.axis
    squeezed = op.call.func._opname.startswith("squeeze") and ("dim" not in op.named or a in op.dims())
    # squeezing would drop the axis of a batch of one sample
    op.need(a is not None and b is not None and not squeezed, "drops or moves the axis of the batch", _KEEP)
    before, after = (math.prod(size for size in each if type(size) is int) for each in (x.shape[:a], out.shape[:b]))
    op.need(before * x.outer % after == 0 and out.k % (before * x.outer // after) == 0, _MOVES, _KEEP)
    return before * x.outer // after


def expanded(op: Operation) -> int:
    """Repeat the same entries along new or longer axes."""
    x, out = op.tensors[0], op.outs[0]
    op.need((x.last, x.k) == (out.last, out.k), _MOVES, _KEEP)
    return x.outer


def along(op: Operation) -> int:
    """Compute each index separately along the axes that the operation does not work along; all tensors are alike."""
    for tensor in op.carrying:
        op.need(len(tensor.shape) == len(op.tensors[0].shape), _COMBINES, _KEEP)
        op.need(tensor.axis not in op.dims(), REDUCES, AXES)
    return together(op)


def middle(op: Operation) -> int:
    """Take the median; for an expanded tensor, torch returns the median of other entries."""
    op.need((0, 0) not in op.tensors[0].strides, "takes the median of an expanded tensor", "copy it first")
    return along(op)


def along_all(op: Operation) -> int:
    """Read or write entries by their index; every tensor must carry the samples."""
    plain = [tensor for tensor in op.tensors if tensor.axis is None and len(tensor.shape)]
    op.need(not plain, "picks entries by the place of a sample in the batch", "expand what all samples share")
    return along(op._replace(tensors=op.carrying))


def along_index(op: Operation) -> int:
    """Pick or write entries by an index along one axis; or pick rows of a table by each sample."""
    x, index = op.tensors[0], op.tensors[1]
    if x.axis is None and op.call.func._opname == "index_select":
        op.need(op.dims() == [op.outs[0].axis], _MOVES)
        return index.outer
    op.need(index.axis is None, "picks by samples what is to be the same for all")
    return along(op)


def joined(op: Operation) -> int:
    """Concatenate tensors along an axis that is not the batch."""
    parts = [tensor for tensor in op.tensors if tensor.shape != (0,)]
    op.need(len(parts) == len(op.carrying), _COMBINES, AXES)
    out = op.outs[0]
    op.need(out.axis is not None and out.axis != op.named["dim"] % len(out.shape), REDUCES, AXES)
    return together(op, last=False)


def sliced(op: Operation) -> int:
    """Take a range of an axis; along the axis of the batch, only the whole range."""
    x = op.tensors[0]
    if op.dims() == [x.axis]:
        start, end, step = (op.named.get(name) for name in ("start", "end", "step"))
        whole = start in (0, None) and step == 1 and end in (None, 2**63 - 1, x.shape[x.axis or 0])
        op.need(whole, "takes some samples out of the batch", "take them before SpikingNet, or all of them")
    else:
        op.need(not isinstance(op.named.get("end"), Batch), "counts by the number of samples", SHARE)
    return together(op)


def product(op: Operation) -> int:
    """Multiply matrices or batches of matrices, (bias,) a, b, without a sum over the samples."""
    a, b = op.tensors[-2:]
    matrices = len(a.shape) > 1 and len(b.shape) > 1
    contracts = a.last == -1 or (b.axis is not None and (not matrices or b.last == -2))
    op.need(not contracts, "sums over the samples of the batch", AXES)
    if a.axis is not None and b.axis is not None:
        op.need(len(a.shape) == 3 and a.axis == b.axis == 0, "multiplies samples with each other", AXES)
    for bias in op.tensors[:-2]:
        op.need(bias.axis is None or bias.last == op.outs[0].last, _COMBINES, _KEEP)
    return outer_of(op, op.carrying)


def einsum(op: Operation) -> int:
    """Sum products over other letters than the letter of the samples, as in "nqd,nkd->nqk"."""
    left, result = op.named["equation"].replace(" ", "").split("->")
    terms = left.split(",")
    letters = {term[each.axis] for term, each in zip(terms, op.tensors, strict=True) if each.axis is not None}
    once = all(term.count(letter) < 2 for term in (*terms, result) for letter in letters)
    op.need(len(letters) == 1 and once and letters <= {*result}, "sums over the samples of the batch", AXES)
    op.need(len({each.k for each in (*op.carrying, *op.outs)}) == 1, _COMBINES, _KEEP)
    return outer_of(op, op.carrying)


def linear(op: Operation) -> int:
    """X @ w.T + b along the last axis of x."""
    op.need(op.carrying == op.tensors[:1] and op.tensors[0].last != -1, *_FIRST)
    return op.tensors[0].outer


_FIRST = ("works along the axis of the batch, or takes its weights from the batch", _KEEP)


def group_norm(op: Operation) -> int:
    """Take statistics of groups of channels, for each row."""
    op.need([op.named["N"], op.named["C"]] == [*op.tensors[0].shape[:2]], *_FIRST)
    return rows(op)


def solved(op: Operation) -> int:
    """Solve A X = B in the last two axes; torch would tell a batch of vectors from matrices by its size."""
    op.need(len({len(tensor.shape) for tensor in op.tensors}) == 1, _COMBINES, "give both as many axes")
    return before(op, 2)


def rows(op: Operation) -> int:
    """Compute with each row (the first axis) of one tensor."""
    op.need(op.tensors[0].axis == 0 and len(op.carrying) == 1, *_FIRST)
    return op.tensors[0].outer


def rows_of_all(op: Operation) -> int:
    """Compute with each row (the first axis) of several tensors."""
    op.need(all(tensor.axis == 0 for tensor in (*op.carrying, op.tensors[0], op.outs[0])), *_FIRST)
    return together(op, last=False)


def convolution(op: Operation) -> int:
    """Compute each image of a batch separately; or images as channels of one image, with one group per sample."""
    if not isinstance(op.named["groups"], Batch):
        return rows(op)
    x, weight, *bias = op.tensors
    op.need(x.axis == 1 and all(each.axis == 0 for each in (weight, *bias)), *_FIRST)
    op.need(outer_of(op, op.tensors) == 1, *_FIRST)
    return 1


def before(op: Operation, n: int) -> int:
    """Compute in the last n axes of all tensors."""
    op.need(all([(tensor.last or 0) < -n for tensor in op.carrying]), REDUCES, AXES)
    return together(op)


def layer_norm(op: Operation) -> int:
    """Take statistics over the last axes, with weights that are the same for all samples."""
    op.need(op.carrying == op.tensors[:1], *_FIRST)
    return before(op, len(op.named["normalized_shape"]))


def norm_of_channels(op: Operation) -> int:
    """Batch norm: in evaluation, entry by entry; in training, by channels, which may be samples."""
    x, *others = op.tensors
    name = op.call.func._opname
    trains = op.named.get("training", op.named.get("train", not name.endswith(("no_training", "no_update"))))
    op.need(not trains or x.axis == 1, "takes statistics over the batch", AXES)
    op.need(all(other.axis is None or x.axis == 1 for other in others), *_FIRST)
    return outer_of(op, op.carrying)


def attention(op: Operation) -> int:
    """softmax(q k^T + mask) v in the last two axes."""
    q, k, v = op.tensors[:3]
    op.need(q.axis == k.axis == v.axis, "attends from one sample to others", "pass (N, L, E), with batch_first=True")
    before(op._replace(tensors=[q, k, v]), 2)
    return together(op)


def embedding(op: Operation) -> int:
    """Pick rows of a table by each sample."""
    op.need(op.tensors[0].axis is None, "looks samples up in each other")
    op.need(not op.named.get("scale_grad_by_freq"), "scales gradients by how often a row is picked in a batch")
    return op.tensors[1].outer


def indexed(op: Operation) -> int:
    """Pick or write x[i, j, ...]; or pick entries of a table by each sample."""
    x, indices = op.tensors[0], op.named["indices"]
    own = [index for index in indices if isinstance(index, Value)]
    values = op.named.get("values")
    if x.axis is None:
        op.need(values is None and len({index.last for index in own}) == 1, _COMBINES)
        return outer_of(op, [index for index in own if index.axis is not None])
    kinds = {index.dtype for index in own}
    masks = kinds <= {torch.bool, torch.uint8} and len(own) == len(indices) == 1 and own[0].shape == x.shape
    if values is not None and masks and not values.shape:
        return together(op)  # one value at all entries of a mask
    op.need(x.axis >= len(indices) or indices[x.axis] is None, "picks samples by index")
    op.need(not kinds & {torch.bool, torch.uint8}, "picks by a mask", "use torch.where")
    op.need(all(index.axis is None for index in own), "picks by samples what is to be the same for all")
    # along one axis, the picked entries keep their place
    one = len(own) == 1 and len(own[0].shape) == 1
    op.need(len(op.carrying) == 1 or one, _COMBINES, "use torch.where")
    return together(op)


_DISTANCES = "pass compute_mode='donot_use_mm_for_euclid_dist' to torch.cdist"


def distances(op: Operation) -> int:
    """(..., n, i), (..., m, i) -> (..., n, m)."""
    a, b = op.tensors
    op.need(a.last != -1 and b.last != -1, "measures over the batch", AXES)
    # from 26 rows on each side, torch computes distances by products
    varies = op.named.get("p") == 2.0 and not op.named.get("compute_mode") and -2 in (a.last, b.last)
    op.need(not varies, "measures distances by another formula if there are more samples", _DISTANCES)
    return before(op, 2) if a.axis is not None and b.axis is not None else outer_of(op, op.carrying)


def bilinear(op: Operation) -> int:
    """x1^T W x2 of rows, as torch.nn.functional.bilinear calls it."""
    a, weight, b = op.tensors
    op.need(a.axis == 0 and b.axis == 0 and weight.axis is None, *_FIRST)
    wanted = ([1, 3], [0], [1, 2], [2, 3])
    op.need(wanted == tuple([*op.named[name]] for name in ("expand1", "expand2", "expand3", "sumdim")), *_FIRST)
    return together(op)


def repeated(op: Operation) -> int:
    """Repeat entries along axes: the axis of the batch once, or a constant for each sample."""
    x, repeats = op.tensors[0], op.named["repeats"]
    if x.axis is None:
        return 1
    op.need(repeats[len(repeats) - len(x.shape) + x.axis] == 1, "repeats the samples of the batch", _KEEP)
    return x.outer


def padded(op: Operation) -> int:
    """Add constants around axes other than the batch."""
    x = op.tensors[0]
    axes = [len(x.shape) - 1 - i // 2 for i, width in enumerate(op.named["pad"]) if width]
    op.need(x.axis not in axes, REDUCES, AXES)
    return x.outer


_ROWS: tuple[tuple[Rule, str], ...] = (
    (
        pointwise,
        """_linalg_check_errors clone _to_copy copy detach alias lift_fresh lift_fresh_copy where fill zero masked_fill
        lerp _conj _neg_view _prelu_kernel rrelu_with_noise native_dropout bernoulli normal normal_functional uniform
        random exponential geometric cauchy log_normal poisson binary_cross_entropy
        mse_loss smooth_l1_loss huber_loss softplus elu hardtanh hardswish hardsigmoid floor_divide""",
    ),
    (of_first, "bucketize isin"),
    (of_second, "searchsorted"),
    (row_major, "view _unsafe_view _reshape_alias _reshape_copy unsqueeze squeeze view_as_real view_as_complex"),
    (expanded, "expand"),
    (lambda op: op.tensors[0].outer, "permute transpose t"),  # the axis of the batch is found by its size
    (
        along,
        """sum mean amax amin prod var std var_mean std_mean logsumexp linalg_vector_norm norm any all argmax argmin max
        min mode kthvalue count_nonzero nansum aminmax _softmax _log_softmax softmax log_softmax
        _safe_softmax cumsum cumprod _cummax_helper _cummin_helper cummax cummin logcumsumexp _logcumsumexp sort topk
        flip roll rot90 unfold select split split_with_sizes unbind unsafe_split glu _fft_c2c _fft_r2c _fft_c2r diagonal
        linalg_cross""",
    ),
    (middle, "median nanmedian"),
    (along_all, "gather scatter scatter_add scatter_reduce slice_scatter"),
    (along_index, "index_select index_add index_fill index_copy"),
    (joined, "cat stack"),
    (sliced, "slice"),
    (product, "mm addmm bmm baddbmm mv addmv"),
    (einsum, "einsum"),
    (linear, "linear"),
    (convolution, "convolution"),
    (group_norm, "native_group_norm"),
    (rows, "channel_shuffle"),
    (
        rows_of_all,
        """affine_grid_generator grid_sampler_2d grid_sampler_3d multinomial _transformer_encoder_layer_fwd
        _native_multi_head_attention""",
    ),
    (partial(before, n=1), "avg_pool1d upsample_nearest1d _upsample_nearest_exact1d upsample_linear1d"),
    (partial(before, n=1), "reflection_pad1d replication_pad1d"),
    (
        partial(before, n=2),
        """max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d fractional_max_pool2d
        max_unpool2d upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d
        _upsample_bilinear2d_aa reflection_pad2d replication_pad2d col2im
        tril triu linalg_inv_ex linalg_cholesky_ex _linalg_svd linalg_qr _linalg_det linalg_matrix_exp _linalg_eigh
        linalg_eig""",
    ),
    (
        partial(before, n=3),
        """max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d max_unpool3d upsample_nearest3d
        _upsample_nearest_exact3d upsample_trilinear3d reflection_pad3d replication_pad3d
        pixel_shuffle pixel_unshuffle im2col""",
    ),
    (solved, "_linalg_solve_ex linalg_solve_triangular"),
    (layer_norm, "native_layer_norm"),
    (
        norm_of_channels,
        """native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm
        miopen_batch_norm _batch_norm_no_update _batch_norm_with_update """,
    ),
    (
        attention,
        """_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention
        _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention """,
    ),
    (embedding, "embedding"),
    (indexed, "index index_put _index_put_impl _unsafe_index"),
    (distances, "_cdist_forward _euclidean_dist"),
    (bilinear, "_trilinear"),
    (repeated, "repeat"),
    (padded, "constant_pad_nd"),
)
RULES = {name: rule for rule, names in _ROWS for name in names.split()}
# the result depends on no value of the arguments
FACTORIES = {
    *("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty", "scalar_tensor"),
    *("zeros_like", "ones_like", "full_like", "empty_like"),
    *("rand", "randn", "randint", "rand_like", "randn_like", "randint_like"),
}
# arguments that may be the size of the batch; in other arguments, it would be a number in a computation
SIZES = {
    **dict.fromkeys(FACTORIES | {"normal", "view", "_unsafe_view", "expand", "affine_grid_generator"}, "size"),
    **{"reshape": "shape", "slice": "end", "repeat": "repeats", "native_group_norm": "N", "convolution": "groups"},
}
