"""Sequences of different lengths as one batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from spikingtorch import validation as checks
from spikingtorch.axes import check_order


def pad_sequences(batch: Sequence[tuple[Any, Any]], batch_first: bool = True) -> tuple[Tensor, Tensor, Any]:
    """Collate pairs of a sequence and a target: the ``collate_fn`` of a DataLoader, also with workers.

        x[n, t] = sequence_n[t]  for t < lengths[n],     0  from there on

    Args:
        batch: pairs (sequence, target). A sequence is a tensor or an array (T_n, ...), with T_n of 1 or more. All
            sequences have the same dtype, and the same shape except for the first axis. Targets are anything that
            torch's ``default_collate`` takes.
        batch_first: False for x of shape (T, N, ...), time first: ``functools.partial(pad_sequences,
            batch_first=False)`` is such a ``collate_fn``.

    Returns:
        x of shape (N, T, ...), where T is the longest length; the lengths, int64, shape (N,), for networks, decoders
        and losses; and the targets.

    Raises:
        ValueError: the batch is empty; a sequence has no steps, or a step has another shape than in the first sequence.
        TypeError: an entry is not such a pair, or the sequences differ in dtype.

    >>> x, lengths, targets = pad_sequences([(torch.ones(3, 5), 0), (torch.ones(2, 5), 1)])
    >>> x.shape, lengths, targets
    (torch.Size([2, 3, 5]), tensor([3, 2]), tensor([0, 1]))
    >>> loader = torch.utils.data.DataLoader([(torch.ones(n, 5), n) for n in (1, 2)], 2, collate_fn=pad_sequences)
    >>> [x.shape for x, _, _ in loader]
    [torch.Size([2, 2, 5])]
    """
    if len(batch) == 0:
        raise ValueError("pad_sequences: the batch is empty, expected one pair (sequence, target) or more")
    sequences, targets = [], []
    for i, sample in enumerate(batch):
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise TypeError(
                f"pad_sequences: sample {i} is a {type(sample).__name__}, expected a pair (sequence, target). Let the "
                "dataset return one"
            )
        sequences.append(_sequence(i, sample[0]))
        targets.append(sample[1])
    first = sequences[0]
    for i, one in enumerate(sequences):
        if one.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"pad_sequences: a step of sample {i} has shape {tuple(one.shape[1:])}, that of sample 0 "
                f"{tuple(first.shape[1:])}. Sequences may differ only in their number of steps, the first axis"
            )
        if one.dtype != first.dtype:
            raise TypeError(
                f"pad_sequences: sample {i} has dtype {one.dtype}, sample 0 {first.dtype}. Let the dataset return one "
                "dtype, such as sequence.float()"
            )
    lengths = torch.tensor([len(one) for one in sequences])
    return (
        pad_sequence(sequences, batch_first=check_order("pad_sequences", batch_first)),
        lengths,
        default_collate(targets),
    )


def _sequence(i: int, sequence: Any) -> Tensor:
    if isinstance(sequence, np.ndarray):
        # torch takes neither negative strides nor the byte order of another machine
        sequence = torch.from_numpy(np.array(sequence, sequence.dtype.newbyteorder("="), order="C"))
    if not isinstance(sequence, Tensor):
        raise TypeError(
            f"pad_sequences: the sequence of sample {i} is a {type(sequence).__name__}, expected a tensor or an array "
            "(T, ...). Events become one in events_to_sequence"
        )
    checks.check_rank("pad_sequences", f"the sequence of sample {i}", sequence, "(T, ...)", 1)
    if sequence.shape[0] == 0:
        raise ValueError(
            f"pad_sequences: the sequence of sample {i} has shape {tuple(sequence.shape)}, which has no steps. Leave "
            "empty sequences out of the dataset"
        )
    return sequence
