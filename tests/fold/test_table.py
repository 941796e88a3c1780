"""Mode "auto" over a table of networks: whether it folds as it should, and with the numbers of mode "step"."""

import re

import pytest

from tests.fold.table import TABLE
from tests.fold.table.runs import both, differences, run

pytestmark = pytest.mark.usefixtures("one_thread")

# networks that should fold and step today, with what they are told
FALSE_REFUSALS: dict[str, str] = {
    "weight norm by hooks": "hooks on module",
    "spectral norm by hooks in evaluation": "hooks on module",
    "embedding bag": "a EmbeddingBag, which may mix the samples",
    "one hot": "reads the value of a tensor",
    "recurrent cell over parts": "a GRUCell, which may mix the samples",
    "LSTM cell": "a LSTMCell, which may mix the samples",
    "reentrant checkpoint": "does not run .* use_reentrant=True",
    "scripted": "a RecursiveScriptModule, which may mix the samples",
    "embedding with sparse gradient": "fails with all steps at once",
    "dropout in a checkpoint": "gradient of a layer's output differently",
    "pruned weight": "hooks on module",
    "drawn slopes": "draws random numbers from differently",
    "attention": "a MultiheadAttention, which may mix the samples",
    "attention, tokens first": "a MultiheadAttention, which may mix the samples",
    "attention without weights": "a MultiheadAttention, which may mix the samples",
    "attention with dropout": "a MultiheadAttention, which may mix the samples",
    "causal attention": "a MultiheadAttention, which may mix the samples",
    "attention with a mask for each sample": "a MultiheadAttention, which may mix the samples",
    "attention with learned keys": "a MultiheadAttention, which may mix the samples",
    "learned queries": "a MultiheadAttention, which may mix the samples",
    "encoder layer": "a TransformerEncoderLayer, which may mix the samples",
    "encoder layer, norm first": "a TransformerEncoderLayer, which may mix the samples",
    "encoder layer, tokens first": "a TransformerEncoderLayer, which may mix the samples",
    "encoder layer with dropout": "a TransformerEncoderLayer, which may mix the samples",
    "decoder layer": "a TransformerDecoderLayer, which may mix the samples",
    "encoder on its fast path": "a TransformerEncoder, which may mix the samples",
    "attention of heads": r"gradient of module\.bias differently",
    "attention by einsum": r"gradient of module\.bias differently",
    "attention in float32": r"gradient of module\.bias differently",
    "one key for all heads": r"gradient of module\.bias differently",
    "difference of attentions": r"gradient of module\.bias differently",
    "additive attention": r"gradient of score\.bias differently",
    "RNN over tokens": "a RNN, which may mix the samples",
    "LSTM over tokens": "a LSTM, which may mix the samples",
    "last state of an LSTM": "a LSTM, which may mix the samples",
    "GRU over tokens": "a GRU, which may mix the samples",
    "GRU, tokens first": "a GRU, which may mix the samples",
    "LSTM both ways": "a LSTM, which may mix the samples",
    "LSTM with dropout": "a LSTM, which may mix the samples",
    "global context": r"gradient of module\.bias differently",
    "vision transformer": "a TransformerEncoderLayer, which may mix the samples",
    "vision transformer with dropout": "a TransformerEncoderLayer, which may mix the samples",
    "shifted windows": "a MultiheadAttention, which may mix the samples",
    "attention along rows": "a MultiheadAttention, which may mix the samples",
}

# networks that must step and fold today, and whether their numbers in these calls are wrong
FALSE_FOLDS: dict[str, bool] = {
    "first of many": False,
    "by strides": False,
    "squeezed": False,
    "hidden behind where": False,
    "hidden behind a buffer": False,
    "large batches": False,
    "odd batches": True,
    "digits of the size": True,
    "scale by size": True,
    "number of all features": True,
    "at most ten samples": False,
    "hook on a weight at each step": True,
    "scale of the first batch": True,
    "code replaced": True,
    "clock": False,
}


def test_lists_are_of_the_table() -> None:
    assert {TABLE[name].wanted for name in FALSE_REFUSALS} <= {"fold"}
    assert {TABLE[name].wanted for name in FALSE_FOLDS} <= {"step"}


@pytest.mark.parametrize("name", TABLE)
def test_verdict(name: str) -> None:
    report = both(name).auto.report
    if name in FALSE_REFUSALS:
        assert report.mode == "step", "it folds: take it off the list of false refusals"
        assert re.search(FALSE_REFUSALS[name], report.reason), report.reason
    elif name in FALSE_FOLDS:
        assert report.mode == "fold", "it steps: take it off the list of false folds"
    else:
        assert report.mode == TABLE[name].wanted, report.reason


@pytest.mark.parametrize("name", TABLE)
def test_numbers(name: str) -> None:
    case, (step, auto) = TABLE[name], both(name)
    if case.draws:
        # a fold draws the same numbers in another order
        assert not differences(run(case, "auto"), auto, case.dtype)
        assert [out.shape for out in auto.outputs] == [out.shape for out in step.outputs]
    else:
        found = differences(auto, step, case.dtype)
        assert bool(found) == FALSE_FOLDS.get(name, False), found
    assert not step.outputs or any([out.count_nonzero() for out in step.outputs])
