"""Where a run goes on from its checkpoint, on any number of processes, plain or wrapped, ended or killed."""

import contextlib
import functools
import json
import math
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import save
from torch.nn.parallel import DistributedDataParallel

from spikingtorch import LI, LIF, SpikingNet, checkpoints
from spikingtorch.checkpoints import CheckpointError, Checkpoints
from spikingtorch.checkpoints.own import own_state
from spikingtorch.cli import main
from tests.distributed.ranks import Ranks
from tests.distributed.test_damaged_checkpoints import Code
from tests.distributed.training import Run, cut, same, steps
from tests.distributed.training import steps as saved
from tests.processes import ROOT
from tests.surroundings import on_threads

Ended = tuple[dict[int, float], dict[str, Tensor]]
WRAPS = ["fsdp", pytest.param("ddp", marks=pytest.mark.long)]


def train(folder: Path, wrap: str, until: int, draws: bool = True) -> Ended:
    """Train, with a checkpoint at the end."""
    run = Run(folder, wrap, draws).train(until, every=until)
    return run.losses, run.end()


def at_once_and_in_parts(folder: Path, wrap: str) -> tuple[list[int], dict[str, Tensor], dict[str, Tensor]]:
    """Return the steps that a run goes on with, in the middle of a stream, and how it ends beside a whole one."""
    whole = Run(folder / "whole", wrap).train(4, every=9).end()
    train(folder / "parts", wrap, 3)
    losses, parts = train(folder / "parts", wrap, 4)
    return [*losses], whole, parts


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_run_that_goes_on_ends_with_the_bits_of_a_whole_one(ranks: Ranks, tmp_path: Path, wrap: str) -> None:
    for went_on, whole, parts in ranks.run(2, at_once_and_in_parts, tmp_path, wrap):
        assert went_on == [4]
        assert same([whole], [parts])


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], list[torch.optim.Optimizer]]] = {
    "one": Run.optimizers_of,
    "without states": lambda it: [torch.optim.SGD(each, lr=0.1) for each in (it[:2], it[2:])],
    "one begins later": lambda it: [torch.optim.Adam(each) for each in (it[:2], it[2:])],
    "a state that grows": lambda it: [torch.optim.LBFGS(it, lr=0.1, max_iter=1)],
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_process_alone_goes_on_with_the_same_bits(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "optimizers_of", staticmethod(OPTIMIZERS[kind]))
    went_on, whole, parts = at_once_and_in_parts(tmp_path, "plain")
    assert went_on == [4]
    assert same([whole], [parts])


@pytest.mark.long
@pytest.mark.parametrize("wrap", WRAPS)
def test_two_processes_go_on_as_one_and_that_as_two(ranks: Ranks, tmp_path: Path, wrap: str) -> None:
    whole, found = ranks.run(2, train, tmp_path / "whole", wrap, 7, False)[0][0], dict[int, float]()
    for size, until in ((2, 1), (1, 3), (2, 5), (4, 7)):  # each in the middle of the streams
        found |= ranks.run(size, train, tmp_path / "parts", wrap, until, False)[0][0]
    assert [*found] == [*whole]
    torch.testing.assert_close([*found.values()], [*whole.values()], rtol=1e-12, atol=0)


def test_buffers_that_differ_between_ranks_are_those_of_the_first(ranks: Ranks, tmp_path: Path) -> None:
    two = [end for _, end in ranks.run(2, train, tmp_path, "fsdp", 1)]
    norm = "own net.1.running_mean"
    assert not torch.equal(two[0][norm], two[1][norm])
    run = Run(tmp_path, "plain")
    assert run.checkpoints.resume() == 1
    assert torch.equal(run.model.get_buffer("net.1.running_mean"), two[0][norm])


# --- streams, wrappers, and what has no state ---------------------------------------------------------------------


def batch(step: int) -> Tensor:
    return torch.rand(4, 6, 4, generator=torch.Generator().manual_seed(step))


def lif(**options: Any) -> SpikingNet:
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(nn.Linear(4, 3), LIF(threshold=0.2)), **options)


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "plain": lambda net: net,
    "ddp": DistributedDataParallel,
    "compile": lambda net: torch.compile(net, backend="eager"),
}


def streaming(folder: Path, wrap: str) -> tuple[Checkpoints, SpikingNet]:
    """Return the checkpoints of a wrapped network with buffers of its own and states between calls."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), LIF(threshold=0.5), nn.Linear(8, 3), LI(tau=8.0))
    model = SpikingNet(net)
    model.register_parameter("tied", weight := net.get_parameter("0.weight"))
    weight.data = weight.data.T.contiguous().T
    return Checkpoints(folder, WRAPPERS[wrap](model), timeout=20), model


def goes_on_in(folder: Path, before: str, after: str) -> bool:
    checkpoints, model = streaming(folder, before)
    with checkpoints, torch.no_grad():
        model(batch(1))
        checkpoints.save(1)
        expected = model(batch(2), init=False)
    checkpoints, model = streaming(folder, after)
    assert checkpoints.resume() == 1
    return bool(model(batch(2), init=False).equal(expected))


def test_streams_and_buffers_go_on_in_another_wrapper(ranks: Ranks, tmp_path: Path) -> None:
    for before, after in (("ddp", "plain"), ("plain", "ddp"), ("plain", "compile")):
        assert ranks.run(1, goes_on_in, tmp_path / f"{before}, {after}", before, after) == [True], (before, after)


def save_streams(folder: Path, rank: int, **options: Any) -> None:
    """Save a network of which one process has states."""
    model = lif(**options)
    with Checkpoints(folder, model, timeout=20) as checkpoints:
        if dist.get_rank() == rank:
            model(batch(1))
        checkpoints.save(1)


def save_streams_of_one_and_with_a_graph(folder: Path) -> None:
    save_streams(folder / "one", 1)
    save_streams(folder / "graph", 0, carry_graph=True)


def test_streams_of_some_processes_are_shared_among_others_and_have_no_graph(ranks: Ranks, tmp_path: Path) -> None:
    ranks.run(2, save_streams_of_one_and_with_a_graph, tmp_path)
    expected = lif()
    expected(batch(1))
    for name, options in (("one", {}), ("graph", {"carry_graph": True})):
        model = lif(**options)
        assert Checkpoints(tmp_path / name, model).resume() == 1
        found = model.get_state()
        assert found.keys() == expected.get_state().keys() != set()
        assert all(each.equal(found[key]) for key, each in expected.get_state().items())


def test_states_that_came_after_a_checkpoint_without_any_are_left(tmp_path: Path) -> None:
    model = lif()
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(1)
    model(batch(1))
    checkpoints.resume()
    assert model.get_state() == {}


def test_layers_without_a_network_and_extra_states_that_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list[list[float]]()
    monkeypatch.setattr(nn.Linear, "set_extra_state", lambda _, state: found.append(state))
    nets = [nn.Sequential(nn.Linear(4, 3), LIF(tau=9.0)) for _ in range(2)]
    nets[0](torch.ones(2, 4))
    for net, state in zip(nets, ([1.5], [1.5, 2.5]), strict=True):
        monkeypatch.setattr(nn.Linear, "get_extra_state", lambda _, state=state: state)
        checkpoints = Checkpoints(tmp_path, net)
        if checkpoints.resume() == 0:
            checkpoints.save(1)
    assert found == [[1.5]]
    assert nets[0](batch(1)[:2, 0]).equal(nets[1](batch(1)[:2, 0]))


# --- which checkpoint is the newest, whatever a run saves and takes up, and in what order -------------------------


def test_a_second_resume_goes_back_to_what_a_run_has_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain").train(2)
    saved = run.model.get_parameter("net.0.weight").detach().clone()
    run.step(3)
    run.model.get_parameter("net.0.weight").grad = saved
    assert [run.checkpoints.resume(), run.checkpoints.resume()] == [2, 2]
    assert run.model.get_parameter("net.0.weight").equal(saved)
    assert run.model.get_parameter("net.0.weight").grad is None


def test_a_damaged_checkpoint_is_not_kept_in_place_of_a_new_one(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(4, every=2)
    cut(tmp_path / "step-00000004" / "SHA256SUMS", 0.5)
    with pytest.warns(UserWarning, match="step-00000004 is damaged"):
        Run(tmp_path, "plain", keep=1).train(3)
    assert "step-00000003" in steps(tmp_path)
    (tmp_path / "step-5").mkdir()
    with pytest.warns(UserWarning, match="step-00000004 is damaged"):
        assert Run(tmp_path, "plain", keep=2).train(5, every=5).losses.keys() == {4, 5}
    assert steps(tmp_path) == ["step-00000003", "step-00000004", "step-00000005", "step-5"]


def test_what_could_not_be_removed_is_in_nobodys_way(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain", keep=1).train(1)
    (tmp_path / "step-00000001.part" / "left").mkdir(parents=True)
    run.checkpoints.save(2)
    assert steps(tmp_path) == ["step-00000002"]


def test_so_many_are_kept(tmp_path: Path) -> None:
    Run(tmp_path, "plain", keep=1).train(2)
    assert steps(tmp_path) == ["step-00000002"]
    run = Run(tmp_path, "plain", keep=3)
    run.train(5)
    run.checkpoints.save(6.0)  # type: ignore[arg-type]
    assert steps(tmp_path) == [f"step-{step:08}" for step in (4, 5, 6)]


def test_what_a_killed_run_was_writing_is_cleared_away_by_the_run_that_goes_on(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    (tmp_path / "step-00000002").rename(tmp_path / "step-00000002.1.part")
    run = Run(tmp_path, "plain")
    assert run.checkpoints.resume() == 1
    assert steps(tmp_path) == ["step-00000001", "step-00000002.1.part"]
    run.train(2)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


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


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RESTARTS = ["--max-restarts", "1", "--monitor-interval", "0.1"]
UNTIL = 25  # steps, with a checkpoint at each


def whole(folder: Path, wrap: str) -> dict[str, Tensor]:
    return Run(folder, wrap).train(UNTIL).end()


def appeared(folder: Path, pattern: str, within: float = 90) -> Path:
    """Wait for a file or folder, and return it."""
    end = time.monotonic() + within
    while not (found := [*folder.glob(pattern)]):
        assert time.monotonic() < end, f"{pattern} has not been written within {within} s"
        time.sleep(0.002)
    return found[0]


def run_and_kill(folder: Path, command: list[str], ranks: int, seed: int) -> int:
    """Start a script, kill one of its ranks at a random moment of a random step, and return how the script ends."""
    draw = random.Random(seed)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "said").open("w") as said:
        script = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True, env=variables)
    try:
        pid = json.loads(appeared(folder, f"pid-{draw.randrange(ranks)}-0").read_text())
        if step := draw.randrange(UNTIL - 7):
            appeared(folder / "checkpoints", f"step-{step:08}*")
        time.sleep(draw.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        return script.wait(120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)


def killed(folder: Path, wrap: str) -> list[str]:
    return ["-m", "tests.distributed.killed", str(folder), wrap, str(UNTIL)]


@pytest.mark.long
def test_a_process_that_is_killed_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    with on_threads(1):
        assert run_and_kill(tmp_path, [sys.executable, *killed(tmp_path, "plain")], 1, 0) == -signal.SIGKILL
        expected, found = whole(tmp_path / "whole", "plain"), whole(tmp_path / "checkpoints", "plain")
    assert same([expected], [found])


@pytest.fixture(scope="module")
def wholes(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """How two ranks end that nobody kills."""
    return functools.cache(lambda wrap: ranks.run(2, whole, tmp_path_factory.mktemp("whole"), wrap))


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.night) for seed in range(1, 5))])
@pytest.mark.parametrize("wrap", ["ddp", "fsdp"])
def test_torchrun_starts_ranks_anew_and_they_end_with_the_same_bits(
    wholes: Callable[[str], list[Any]], tmp_path: Path, wrap: str, seed: int
) -> None:
    expected = wholes(wrap)
    starts = [sys.executable] if wrap == "fsdp" else [*TORCHRUN, *RESTARTS]  # killed.py starts ranks by itself
    ended = run_and_kill(tmp_path, [*starts, *killed(tmp_path, wrap)], 2, seed)
    assert ended == 0, (tmp_path / "said").read_text()[-5000:]
    ends = [json.loads((tmp_path / f"trained-{rank}-1").read_text()) for rank in range(2)]  # of the second start
    assert all(steps[-1] == UNTIL for _, *steps in ends)
    assert same(expected, [torch.load(tmp_path / f"end-{rank}.pt") for rank in range(2)])
    complete = saved(tmp_path / "checkpoints")
    assert complete == [f"step-{step:08}" for step in (UNTIL - 1, UNTIL)]
