"""Many processes train one model, through accelerate: on one machine by `launch`, on many by `accelerate launch`.

On CPUs two processes with one thread each beat one with two (measured: 0.43 against 0.65 s a step of the policy stage).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn
from torch.nn.parallel import DistributedDataParallel

from defi_models.contract import ConfigError, DefiError
from defi_models.files import interrupted_by_sigterm, write_text

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

Precision = Literal["auto", "no", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "no", "bf16", "fp16")
Module = TypeVar("Module", bound=torch.nn.Module)
REFUSED = ".refused"  # ending of a file in which a process leaves its error
PATIENCE = timedelta(
    days=2
)  # how long processes wait for the one that encodes or packs data; torch gives up after 10 min
STOP_S = 5.0  # how long a process may take to end when it is told to
MEMBER = "RANK"  # set by torchrun, accelerate and `launch` in each process that trains with others


def is_member() -> bool:
    """Whether a launcher started this process as one of several."""
    return MEMBER in os.environ


def join() -> None:
    """Meets the other processes where a launcher started this one as one of several."""
    PartialState(cpu=not torch.cuda.is_available(), **({"timeout": PATIENCE} if is_member() else {}))


def engine(precision: Precision = "auto", *, unused: bool = False) -> Accelerator:
    """What distributes a model and runs its passes in mixed precision.

    Args:
        precision: `auto` is bf16 on CUDA and none on a CPU, few of which multiply in bf16.
        unused: Whether some trained parameters take no part in the loss; finding them costs time.

    Raises:
        ConfigError: the precision is not there; see `check_precision`.
    """
    check_precision(precision)
    cuda = torch.cuda.is_available()
    chosen = ("bf16" if cuda else "no") if precision == "auto" else precision
    options = DistributedDataParallelKwargs(find_unused_parameters=unused)
    return Accelerator(cpu=not cuda, mixed_precision=chosen, kwargs_handlers=[options])


def check_precision(precision: Precision) -> None:
    """Refuses fp16 without CUDA, which has no gradient scaler elsewhere.

    Raises:
        ConfigError: so.
    """
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("precision: got 'fp16' without CUDA, expected 'auto', 'no' or 'bf16'")


def prepare(
    engine: Accelerator, module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Both made ready to train with other processes; buffers must change alike in all of them."""
    module, optimizer = engine.prepare(module, optimizer)
    if isinstance(module, DistributedDataParallel):
        module.forward_sync_buffers = False  # a message every pass, for what is equal already
    return module, optimizer


def device() -> torch.device:
    """Where this process computes."""
    return torch.device(PartialState(cpu=not torch.cuda.is_available()).device or "cpu")


def rank() -> int:
    """Number of this process, from 0; 0 when there is one."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def fillers() -> tuple[int, int]:
    """Which one this process is, and of how many, that fill a file together: all on one machine, else the first alone."""
    together = size() == int(
        os.environ.get("LOCAL_WORLD_SIZE", "1")
    )  # a launcher that does not say may use many machines
    return (rank(), size()) if together else (rank(), 1)


def barrier() -> None:
    """Waits until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """What is inside is done by the first process, then by the others, who find it done."""
    if rank():
        barrier()
    yield
    if not rank():
        barrier()


def sum_everywhere(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, in each of them."""
    total = tensor.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def begin_sum(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begins to add up a tensor over all processes; call what is returned for the sum."""
    total = tensor.clone()
    pending = dist.all_reduce(total, async_op=True) if dist.is_initialized() else None

    def found() -> torch.Tensor:
        if pending is not None:
            pending.wait()
        return total

    return found


def same_everywhere(tensor: torch.Tensor) -> None:
    """Gives every process the first one's values, after a change that is no gradient step."""
    if dist.is_initialized():
        dist.broadcast(tensor, 0)


def spreads() -> bool:
    """Whether each process is to hold a part of a model only (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def gathered(module: Module, make: Callable[[], Module]) -> Module:
    """The module, or where FSDP spreads it, a new one that has all of its weights; every process must call it."""
    if not any(isinstance(p, DTensor) for p in module.parameters()):
        return module
    made = make()
    made.load_state_dict({name: whole(tensor) for name, tensor in module.state_dict().items()})
    return made.to(device()).eval()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor on the CPU, also where FSDP keeps a part of it in each process; every process must call it."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


def write(target: torch.Tensor, values: torch.Tensor) -> None:
    """Puts `values`, whole, into `target`, of which this process may hold a part."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            from torch.distributed.tensor import distribute_tensor

            values = distribute_tensor(values.to(target.device), target.device_mesh, target.placements)
        target.copy_(values)


def launch(processes: int, work: Callable[[], None]) -> None:
    """Runs `work` (picklable) in `processes` processes of this machine that train together; here when it is one.

    Raises:
        DefiError: what one of them raised.
    """
    if processes == 1:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        members = spawn(_member, (processes, Path(folder), work), nprocs=processes, join=False)
        assert members is not None  # for it is not joined there
        try:
            with interrupted_by_sigterm():
                while not members.join():
                    pass
        except (ProcessRaisedException, ProcessExitedException) as error:
            refusals = sorted(Path(folder).glob(f"*{REFUSED}"))
            if not refusals:
                raise
            raise DefiError(refusals[0].read_text(encoding="utf-8")) from error
        finally:  # none goes on alone when this one is told to end
            for process in cast("list[BaseProcess]", members.processes):
                process.terminate()
                process.join(STOP_S)
                process.kill()


def _member(number: int, processes: int, folder: Path, work: Callable[[], None]) -> None:
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ |= {MEMBER: str(number), "LOCAL_RANK": str(number)}
    os.environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all processes are on this machine
    torch.set_num_threads(threads)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    rendezvous = (folder / "rendezvous").as_uri()
    dist.init_process_group(backend, init_method=rendezvous, rank=number, world_size=processes, timeout=PATIENCE)
    try:
        join()
        work()
    except DefiError as error:  # the others may notice that this one is gone before it is told why
        write_text(folder / f"{number}{REFUSED}", str(error))
        raise
    finally:
        dist.destroy_process_group()
