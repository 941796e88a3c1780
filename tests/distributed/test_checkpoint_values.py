"""Which values checkpoints hold, as JSON and safetensors, and how those of 1.0.0rc1 are converted."""

import math
import pickle
import shutil
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import save

from spikingtorch import checkpoints
from spikingtorch.checkpoints import CheckpointError, Checkpoints
from spikingtorch.checkpoints.own import own_state
from spikingtorch.cli import main
from tests.distributed.test_damaged_checkpoints import Code
from tests.distributed.training import Run, steps

COMES_BACK: list[Any] = [
    *([None, True, 0, -1, 2**53, -(2**200), 10**400, 0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, "\ud800\0é"]),
    *([(), (1, (2.5,)), [], [[]], {}, {"#": 1}, {"a": {}, "a.b": 1}, {1: "a", (2, None): [3], "1": 4, None: 0}]),
    *("\ud83d\ude00", {1, 2}, frozenset("a"), Counter({3: 1, 7: 2}), OrderedDict([("b", 1), ("a", 2)])),
    *({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, [torch.tensor(1.5), torch.arange(6).view(2, 3).T]),
    *(torch.zeros(0, 2), torch.ones(3).bfloat16(), torch.tensor([True]), torch.tensor([2**63 - 1])),
    *(np.float32(0.1), np.arange(6.0).reshape(2, 3).T, np.array(3), np.random.PCG64(1).state, np.zeros(0, np.uint32)),
]
IS_REFUSED: list[tuple[Any, str]] = [
    *((print, "builtins.builtin_function"), (b"", "builtins.bytes"), (1j, "builtins.complex")),
    *((torch.float32, "torch.dtype"), (torch.eye(2).to_sparse(), "torch.Tensor of torch.float32")),
    *((np.array([None]), "ndarray of object"), (torch.zeros(1, dtype=torch.cdouble), "Tensor of torch.complex128")),
    *((nn.Parameter(torch.ones(1)), "Parameter"), (torch.zeros(1).to(torch.float8_e8m0fnu), "float8_e8m0fnu")),
]


def state_of(gives: dict[str, Any], takes: dict[str, Any]) -> Any:
    return SimpleNamespace(state_dict=lambda: gives, load_state_dict=takes.update)


def test_a_value_comes_back_as_it_was_or_is_refused(tmp_path: Path) -> None:
    own, shared, saved = dict[str, Any](), dict[str, Any](), {"it": COMES_BACK}
    run = Checkpoints(tmp_path, nn.Linear(2, 2), own={"own": state_of(saved, own)}, shared=state_of(saved, shared))
    run.save(1)
    assert run.resume() == 1
    assert repr(own) == repr(shared) == repr(saved)
    for value, said in IS_REFUSED:
        saved["it"] = [value]
        with pytest.raises(
            CheckpointError, match=rf"TypeError: shared\.shared\.it\.0 is a .*{said}.*A checkpoint holds"
        ):
            run.save(2)
    assert steps(tmp_path) == ["step-00000001"]


def test_pickles_of_the_candidate_are_converted_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, run = tmp_path / "old", tmp_path / "new", Run(tmp_path / "run", "plain").train(2)
    model, optimizer = get_state_dict(run.model, run.optimizer)
    own = own_state(run.model, run.checkpoints.own)
    state = {"model": model, "optimizer": optimizer, "shared": {"scheduler": run.scheduler.state_dict()}}
    state |= {"process": {"0": (tuple(own["random"]), own["streams"], own["buffers"], own["own"])}}
    with warnings.catch_warnings(action="ignore"):
        state |= {"versions": (*checkpoints._versions().items(), ("optimizer 0", "AdamW"))}
        save(state, storage_writer=FileSystemWriter(old / "step-00000002"))
    (old / "step-00000001").mkdir()
    (old / "step-00000001" / ".metadata").write_bytes(pickle.dumps(Code()))
    with pytest.raises(CheckpointError, match=r"1\.0\.0rc1.* python -m spikingtorch checkpoints convert"):
        Run(old, "plain").checkpoints.resume()
    shutil.rmtree(old / "step-00000001")
    for answer, code, there in (("", 1, []), ("y", 0, ["step-00000002"]), ("y", 2, ["step-00000002"])):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert main(["checkpoints", "convert", str(old), str(new)]) == code
        assert [path.name for path in new.glob("*")] == there
    assert Run(new, "plain").train(3).losses == {3: run.train(3).losses[3]}
