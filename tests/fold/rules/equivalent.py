"""Mutants that no test can tell from the code, by the name of the function and the change, and why that is so.

Two kinds: SAME judge every call as the code does, and WORDS refuse the same calls with another message, which
``mutate`` does not read. It tells which of these no longer live, and counts what is killed with them and without.
"""

_ONE_OUT = "each of these operations makes one tensor"
_LENGTHS = "the lengths are compared before"
_READ = "the text, which tests/fold/test_nets.py reads"
_TYPES = "says to the type checker what holds: tensors that carry samples have an axis of them"

SAME: dict[str, dict[str, str]] = {
    "rules.row_major": {
        "out.axis: last for axis": "a slice of a shape ends at the same place, counted from either end",
        "1: + 1": "never reached: need(False) raises",
    },
    "rules.sliced": {
        "x.axis or 0: without 0": _TYPES,
        "x.axis: last for axis": "the same size, counted from the end",
    },
    "rules.before": {"tensor.last is not None and tensor.last < -n: without tensor.last is not None": _TYPES},
    "rules.spatial": {
        "int(found[1]) if found else 3: if True": "each operation of this rule has its number of axes in its name",
        "3: + 1": "the same",
    },
    "rules.indexed": {
        "kinds <= {torch.bool, torch.uint8}: compares with Lt": (
            "at most one kind is left, for it is asked next whether there is one index alone"
        ),
    },
    "judge.rule_of": {
        "RULES.get(name) or RULES.get(name.removesuffix('_')): without RULES.get(name)": (
            "no name of the table ends with an underscore, so that the second look finds what the first would"
        ),
        "known is None and torch.Tag.pointwise in func.tags: without known is None": (
            "of the table's operations, torch tags as pointwise the pointwise ones, and max and min of two tensors, "
            "which it takes apart before they are noted"
        ),
    },
    "operations.k": {
        "self.axis: last for axis": "the same size, counted from the end",
        "0: + 1": "the k of a constant is compared beside its axis, which is None, or asked whether it is above 1",
    },
    "proof._merged_call": {
        "one.func is not other.func and one.func != other.func: without one.func is not other.func": (
            "what differs is not identical"
        ),
        "'' if isinstance(one.func, str) else SIZES.get(aten_name(one: if False": (
            "aten_name of a text is empty, and SIZES does not have it"
        ),
    },
    "proof._merged": {
        "strict=True: the other way": _LENGTHS,
        "a is b or a == b or a != a: without a is b": "what is identical is equal to itself, or differs from itself",
    },
    "proof._judge_all": {"strict=True: the other way": _LENGTHS},
    "proof._placed": {
        "1 if value.number is None else self.outer.get(value.number, : if False": "no outer factor is kept under None",
        "1: + 1": "what was there before is the same in both traces, and has no samples to have an outer factor",
    },
    "proof._judge": {
        "1: + 1": "the outer factor of a sum, which has no samples, or of what no rule is asked of again",
        "if out.number is None:\n    continue: if False": "a trace numbers all tensors that come out",
    },
    "proof._judge_text": {
        "if func == GRADIENTS:\n    for value in op.tensors:\n        i: if True": (
            "the others that come here, the input and the gradients of a backward pass, are made of no tensors"
        ),
    },
    "proof._is_sum": {
        "all: any for all": _ONE_OUT,
        "(adds or scales or moves) and stays and (not op.carrying): without not op.carrying": (
            "with samples among its factors, what comes out has samples, and is refused as such; where it is written "
            "on a tensor with samples, it has another shape, and is refused for that"
        ),
    },
}
WORDS: dict[str, dict[str, str]] = {
    "rules.row_major": {
        "'dim' not in op.named or a in op.dims(): without 'dim' not in op.named": "dims objects where there is none",
    },
    "judge.judge": {
        "samples or not sized: without samples": (
            "a constant that gets as many entries as there are samples is refused by the next line, but for expand and "
            "repeat, whose sizes are lists, which is not asked here"
        ),
    },
    "proof._merged_call": {
        "'computes other parameters of a spiking layer at each step' : if True": _READ,
        "'computes other parameters of a spiking layer at each step' : if False": _READ,
        "one.func == PARAMETERS: compares with NotEq": _READ,
    },
    "proof._judge": {
        "found is None and backward and self._is_sum(op): without found is None": (
            "in a backward pass, what is made of mixed samples is refused in any case"
        ),
        "if found is None:\n    outer = judge(op, self.taught): if True": "names the second of two objections",
        "found is None and writes and ('batch_norm' not in func._opna: without found is None": (
            "names the second of two objections: one that writes raises the first in any case"
        ),
        "found or Objection(f'makes one out of all samples of the bat: without found": _READ,
    },
}
