"""FSDP: each process keeps its part of the gradients, the optimiser's states and the weights that it moves.

An agent samples between updates and within them, and every process does so at a pace of its own, so none may
wait for another's weights then. They are therefore whole in every process except while the optimiser moves
the parts (PyTorch's FSDP2 with `reshard_after_forward=False`). Weights that are not trained are not divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class ShardingAccelerator(Accelerator):
    """An accelerator whose learners divide what they train among the processes.

    accelerate's own FSDP leaves the weights divided after a step, and runs on no CPU.
    """


def trained_weights(module: nn.Module) -> list[nn.Parameter]:
    """The weights that training changes."""
    return [weight for weight in module.parameters() if weight.requires_grad]


def is_divided(module: nn.Module) -> bool:
    """Whether the module is one that `Shards` divides; it cannot be put together again for good."""
    return isinstance(module, FSDPModule)


class Shards:
    """A module whose trained weights are divided among the processes.

    Args:
        module: with the same weights in every process.
        accelerator: of these.

    Attributes:
        parts: this process's, for an optimiser to move.

    Raises:
        ValueError: the trained weights are of several types.
    """

    def __init__(self, module: nn.Module, accelerator: Accelerator) -> None:
        kinds = sorted({str(weight.dtype).removeprefix("torch.") for weight in trained_weights(module)})
        if len(kinds) > 1:
            raise ValueError(
                f"trainer=fsdp divides weights of one type only, not of {' and '.join(kinds)}; train an "
                "adapter (model.lora_rank), or all of it with model.dtype=float32 and trainer.precision=bf16"
            )
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        frozen = {weight for weight in module.parameters() if not weight.requires_grad}
        self._module = module
        self._divided = fully_shard(module, mesh=mesh, reshard_after_forward=False, ignored_params=frozen)
        self._divided.set_reshard_after_backward(False)
        # Losses are shares of one total, so gradients are added up.
        self._divided.set_force_sum_reduction_for_comms(True)
        self._divided.set_gradient_divide_factor(1.0)
        self.parts = trained_weights(module)
        self.unite()
        # FSDP would divide the weights again for every `state_dict`; ours are read and written whole.
        for part in module.modules():
            part._state_dict_pre_hooks.clear()
            part._load_state_dict_pre_hooks.clear()
            part._load_state_dict_post_hooks.clear()

    def unite(self) -> None:
        """Make the weights whole, from the parts as the optimiser left them."""
        self._divided.reshard()
        self._divided.unshard()

    @torch.no_grad()
    def take(self) -> None:
        """Cut the parts from the whole weights, which somebody has written into."""
        whole = [weight.clone() for weight in trained_weights(self._module)]
        for part, values in zip(self.parts, whole, strict=True):
            part.copy_(_cut(values, part))
        self.unite()


def whole_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimiser's `state_dict` with whole tensors; every process must ask for it."""
    moments = {
        index: {name: _whole(value) for name, value in of_weight.items()}
        for index, of_weight in state["state"].items()
    }
    return {**state, "state": moments}


def divided_state(state: Mapping[str, Any], parts: Sequence[Tensor]) -> dict[str, Any]:
    """The inverse of `whole_state`, for an optimiser of these parts of weights."""
    moments = {
        index: {
            name: _cut(value, parts[index]) if value.shape == parts[index].shape else value
            for name, value in of_weight.items()
        }
        for index, of_weight in state["state"].items()
    }
    return {**state, "state": moments}


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _cut(values: Tensor, part: Tensor) -> DTensor:
    assert isinstance(part, DTensor)  # noqa: S101  of a divided module
    return distribute_tensor(values.to(part.device), part.device_mesh, part.placements)
