"""The processes of a run: how one or many join and part, which of them failed, and how much memory they take."""

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

# how long the process with the notes waits for others to read them
LINGER = timedelta(seconds=5)


class ProcessError(RuntimeError):
    """Another process failed first, and names itself."""


@contextlib.contextmanager
def together(timeout: timedelta) -> Iterator[torch.device]:
    """Join the processes that torchrun has started, or make a group of this process alone; give its device.

    A collective that waits longer than ``timeout`` raises. A process that raises leaves a note of it, which the others
    find when they miss it.

    Raises:
        ProcessError: another process has failed.
    """
    if torch.cuda.is_available():
        device, backend = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))), "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    else:
        device, backend = torch.device("cpu"), "gloo"
    store, rank, size = _meet(timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield device
        dist.barrier()  # none goes while another one is still at work
    except BaseException as error:
        said = f"process {rank} of {size}: {type(error).__name__}: {error}"
        first = said
        with contextlib.suppress(Exception):  # the store is gone if its process is
            first = store.compare_set("failed", "", said).decode()
            store.set(f"heard {rank}", "")
            if rank == 0:  # which has the store, and takes it along
                store.wait([f"heard {each}" for each in range(size)], min(timeout, LINGER))
        if first != said:
            raise ProcessError(f"{first}. So process {rank} ends, too.") from error
        raise
    finally:
        dist.destroy_process_group()


def _meet(timeout: timedelta) -> tuple[Store, int, int]:
    """Return where processes leave notes to each other, the number of this process, and how many there are."""
    url = "env://" if "RANK" in os.environ else "tcp://localhost:0?rank=0&world_size=1"
    store, rank, size = next(rendezvous(url, timeout=timeout))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun keeps this store when it starts processes anew, with the addresses of those that have ended. Each
        # machine counts its own starts, so that the number tells old from new on one machine only.
        if int(os.environ["GROUP_WORLD_SIZE"]) > 1 and int(os.environ["TORCHELASTIC_MAX_RESTARTS"]) > 0:
            raise SystemExit("to restart on several machines, set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun")
        store = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    return store, rank, size


def peak_memory(device: torch.device) -> float:
    """Return the largest memory that a process has taken, in bytes: of its GPU if it has one."""
    if device.type == "cuda":
        peak = float(torch.cuda.max_memory_allocated(device))
    else:
        import resource  # Windows has none

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
    most = torch.tensor(peak)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return most.item()
