"""A pool of processes that stay up, in which a function runs as the ranks of a process group on the loopback."""

import datetime
import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# seconds after which a collective raises, and after which a run is given up: processes that hang end
COLLECTIVE, RUN = 30, 100


class RankError(AssertionError):
    """What the ranks that failed have raised, in the order in which they failed.

    Attributes:
        errors: the traceback of each rank that failed.
    """

    def __init__(self, errors: dict[int, str]) -> None:
        super().__init__("\n".join(f"rank {rank}: {text}" for rank, text in errors.items()))
        self.errors = errors


def refusal(function: Callable[..., Any], *args: Any) -> str:
    """Return the error of a call in words, with its notes: for errors of all ranks, after which each can go on."""
    try:
        function(*args)
    except Exception as error:
        return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return "no error"


class Ranks:
    """Processes that run functions together. They start at the first run, and serve runs of any number of ranks.

    Each run gets a process group of its own (gloo), and new processes after a run that failed.
    """

    def __init__(self) -> None:
        self._processes: list[tuple[BaseProcess, Connection]] = []

    def run(self, size: int, function: Callable[..., Any], *args: Any, collective: float = COLLECTIVE) -> list[Any]:
        """Return what a function returns on each rank.

        Args:
            size: number of ranks.
            function: a function of a module; it finds its rank by ``torch.distributed.get_rank()``.
            *args: what each rank hands it.
            collective: seconds after which a collective raises.

        Raises:
            RankError: it raised on a rank, or a rank did not end in time.
        """
        while len(self._processes) < size:
            self._processes.append(_start())
        with tempfile.TemporaryDirectory() as folder:
            rendezvous = (Path(folder) / "rendezvous").as_uri()
            for rank, (_, connection) in enumerate(self._processes[:size]):
                connection.send_bytes(pickle.dumps((rank, size, rendezvous, collective, function, args)))
            return self._collect(size)

    def _collect(self, size: int) -> list[Any]:
        found, errors, end = dict[int, Any](), dict[int, str](), time.monotonic() + RUN
        waiting = {connection: rank for rank, (_, connection) in enumerate(self._processes[:size])}
        while waiting and (ready := wait([*waiting], max(0.0, end - time.monotonic()))):
            for connection in ready:
                rank = waiting.pop(connection)  # type: ignore[call-overload]
                try:
                    found[rank], error = pickle.loads(connection.recv_bytes())  # type: ignore[union-attr]
                except EOFError:
                    error = "the process has ended"
                if error is not None:
                    errors[rank] = error
        errors |= dict.fromkeys(waiting.values(), f"has not ended within {RUN} s")
        if errors:
            self.close()  # a process whose group is broken may find no other one
            raise RankError(errors)
        return [found[rank] for rank in range(size)]

    def close(self) -> None:
        """End all processes; the next run starts new ones."""
        for process, _ in self._processes:
            process.kill()
        for process, connection in self._processes:
            process.join()
            connection.close()
        self._processes = []


def _start() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("forkserver")  # one process imports torch for all
    context.set_forkserver_preload(
        ["torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor", "spikingtorch"]
    )
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    return process, here


def _serve(connection: Connection) -> None:
    """Run what is asked for until the other end of the connection is gone."""
    torch.set_num_threads(1)
    while True:
        try:
            asked = pickle.loads(connection.recv_bytes())
        except EOFError:
            # without the end of the interpreter: gloo's threads may let go of a tensor then, which aborts the process
            os._exit(0)
        connection.send_bytes(_answer(*asked))


def _answer(
    rank: int, size: int, rendezvous: str, seconds: float, function: Callable[..., Any], args: tuple[Any, ...]
) -> bytes:
    """Return, pickled, what a function returns as one of the ranks, and the text of its error."""
    try:
        patience = datetime.timedelta(seconds=seconds)
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size, timeout=patience)
        dist.barrier()  # so that no rank leaves while another one still connects
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="SpikingNet|FSDP2-wrapped module")
            return pickle.dumps((function(*args), None))
    except BaseException:
        return pickle.dumps((None, traceback.format_exc()))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
