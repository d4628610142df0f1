"""A tree of tensors and scalars as a flat dict of tensors plus plain JSON, and back, exactly.

JSON has no tuples, no keys but strings, and no NaN; such nodes become an object with a single tagged key. Two
places that hold the same tensor (tied weights) hold the same one again after the round trip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_TAGS = ("$tensor", "$array", "$tuple", "$dict", "$float")


def flatten_state(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], Any]:
    """Split a state into tensors by name and a JSON tree that refers to them.

    Raises:
        TypeError: something is neither tensor, array, container nor scalar; the message says where.
    """
    flattener = _Flattener()
    tree = flattener.node(state, "state")
    return flattener.tensors, tree


class _Flattener:
    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._names: dict[tuple[object, ...], str] = {}
        # Keeps what arrays were turned into alive, so that no address is used twice.
        self._alive: list[torch.Tensor] = []

    def node(self, value: object, path: str) -> Any:  # noqa: ANN401  a JSON value
        """The JSON of one value."""
        if isinstance(value, torch.Tensor):
            return {"$tensor": self._name(value.detach(), path)}
        if isinstance(value, np.ndarray):
            return {"$array": self._name(_as_tensor(value, path), path)}
        if isinstance(value, Mapping):
            return self._mapping(value, path)
        if isinstance(value, tuple):
            return {"$tuple": [self.node(item, f"{path}[{i}]") for i, item in enumerate(value)]}
        if isinstance(value, list):
            return [self.node(item, f"{path}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": repr(float(value))}
        if isinstance(value, np.generic):
            raise TypeError(f"{path} is a NumPy scalar; pass .item()")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{path} is a {type(value).__name__}; a state holds tensors, arrays and plain values")

    def _mapping(self, value: Mapping[object, object], path: str) -> Any:  # noqa: ANN401
        if all(isinstance(key, str) and key not in _TAGS for key in value):
            return {str(key): self.node(item, f"{path}.{key}") for key, item in value.items()}
        pairs = [(self.node(key, f"{path} key"), key, item) for key, item in value.items()]
        return {"$dict": [[key, self.node(item, f"{path}[{name}]")] for key, name, item in pairs]}

    def _name(self, tensor: torch.Tensor, path: str) -> str:
        """The name under which a tensor is stored; the same memory seen the same way is stored once."""
        view = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        key = view if tensor.numel() else (path,)
        if key not in self._names:
            self._names[key] = path
            self._alive.append(tensor)
            # Cloned, since safetensors refuses tensors that share memory and views of larger ones.
            self.tensors[path] = tensor.cpu().clone(memory_format=torch.contiguous_format)
        return self._names[key]


def _as_tensor(array: np.ndarray, path: str) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(array, order="C"))
    except TypeError as error:
        raise TypeError(f"{path} is an array of {array.dtype}, which cannot be stored") from error


def restore_state(tensors: Mapping[str, torch.Tensor], tree: Any) -> Any:  # noqa: ANN401  a JSON value
    """The inverse of `flatten_state`.

    Raises:
        KeyError: the tree refers to a tensor that is missing.
    """
    if isinstance(tree, list):
        return [restore_state(tensors, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1 or next(iter(tree)) not in _TAGS:
        return {key: restore_state(tensors, item) for key, item in tree.items()}
    ((tag, value),) = tree.items()
    if tag == "$tensor":
        return tensors[value]
    if tag == "$array":
        return tensors[value].numpy()
    if tag == "$float":
        return float(value)
    if tag == "$tuple":
        return tuple(restore_state(tensors, item) for item in value)
    return {restore_state(tensors, key): restore_state(tensors, item) for key, item in value}
