"""Judge a call by the rule of its operation: from the table, from the user, or from torch's tag."""

from collections.abc import Mapping
from typing import Any

import torch

from spikingtorch.fold.operations import Batch, Operation, Rule
from spikingtorch.fold.rules import FACTORIES, RULES, SHARE, expanded, pointwise, repeated, rows_of_all
from spikingtorch.fold.trace import unknown
from spikingtorch.functional.core.torch_private import OpOverload, OpOverloadPacket


def aten_name(func: Any) -> str:
    """Return the name of a torch operation; "" for others, whose names may mean anything."""
    return str(func._opname) if getattr(func, "namespace", "") == "aten" else ""


# the rules that a user can give for an operation outside of the table
TAUGHT: dict[str, Rule] = {"pointwise": pointwise, "rows": rows_of_all}


def taught_rules(rules: Mapping[Any, str] | None) -> dict[str, Rule]:
    """Return the user's rules, by the name of the operation; raise if a key is no operation, or a value no rule."""
    found = {}
    for operation, rule in (rules or {}).items():
        if not isinstance(operation, OpOverload | OpOverloadPacket):
            raise TypeError(
                f"SpikingNet: fold_rules has the key {operation!r}, expected an operation such as "
                "torch.ops.mylib.smooth"
            )
        if rule not in TAUGHT:
            raise ValueError(
                f"SpikingNet: fold_rules says {rule!r} of {operation}, expected 'pointwise' (each entry is computed "
                "from the entries in its place) or 'rows' (each index of the first axis by itself)"
            )
        found[str(operation)] = TAUGHT[rule]
    return found


def judge(op: Operation, taught: Mapping[str, Rule]) -> int:
    """Return the outer factor of the result of an operation; raise an objection if it mixes samples, or may do so."""
    func, samples = op.call.func, any(out.axis is not None for out in op.outs)
    name = aten_name(func)
    if draws(op):
        op.need(
            all(out.axis is not None for out in op.outs[:1]),
            "draws random numbers that all samples share, which would be one draw for all steps",
            "draw for each sample, with the batch as the first axis",
        )
    if name in FACTORIES or (name == "normal" and not op.tensors):
        return 1
    rule = taught.get(str(func)) or taught.get(str(func.overloadpacket))
    rule = rule or RULES.get(name) or RULES.get(name.removesuffix("_"))
    rule = pointwise if rule is None and torch.Tag.pointwise in func.tags else rule
    if not op.carrying:
        sized = any(isinstance(value, Batch) for value in op.named.values())
        op.need(samples or not sized, "counts by the number of samples", SHARE)
        op.need(not samples or rule in (expanded, repeated), "numbers the samples of the batch", SHARE)
        return 1
    if rule is None:
        raise unknown(func, op.call.name)
    return rule(op)


def draws(op: Operation) -> bool:
    """Return True if an operation of torch draws random numbers."""
    if torch.Tag.nondeterministic_seeded not in op.call.func.tags:
        return False
    off = op.named.get("dropout_p", 1.0) == 0.0 or op.named.get("train", True) is False
    return not off and op.named.get("training", True) is not False
