"""What the processes of one job do together: they divide work and put the results together.

Every process holds the same state and draws the same random numbers, so each knows its part of any work
without asking, and a job of several processes does what one process would have done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


class Divisible(Protocol):
    """What can be cut: a list, a tensor."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def __getitem__(self, index: slice, /) -> Any:  # noqa: ANN401  of the same kind
        """Some of them."""
        ...


DivisibleT = TypeVar("DivisibleT", bound=Divisible)
ItemT = TypeVar("ItemT")


def place(accelerator: Accelerator | None) -> tuple[int, int]:
    """This process's number and how many there are; without an accelerator it is the only one."""
    return (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)


def own_part(accelerator: Accelerator, items: DivisibleT) -> DivisibleT:
    """This process's part of some items; empty where there are too few for all."""
    rank, count = place(accelerator)
    return items if count == 1 else items[rank::count]


def gather(accelerator: Accelerator, item: ItemT) -> list[ItemT]:
    """What every process hands in, in the processes' order."""
    return [item] if accelerator.num_processes == 1 else gather_object([item])


def add_up(accelerator: Accelerator, figures: Mapping[str, float]) -> dict[str, float]:
    """The sums of figures over all processes, whose names are the same."""
    if accelerator.num_processes == 1:
        return dict(figures)
    names = sorted(figures)
    own = torch.tensor([figures[name] for name in names], device=accelerator.device)
    sums = accelerator.reduce(own, "sum")
    assert isinstance(sums, torch.Tensor)  # noqa: S101  as its argument
    return dict(zip(names, sums.tolist(), strict=True))
