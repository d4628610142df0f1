"""A server that samples with the weights being trained: it gets their adapter, whenever that has changed.

The adapter is written to a folder that the server reads too, and loaded under a name that its weights give
it (vLLM's `/v1/load_lora_adapter`, switched on by VLLM_ALLOW_RUNTIME_LORA_UPDATING=True). So whoever samples
from the same weights, in this process or another, asks for the same name, and the first to need it loads it.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections import deque
from pathlib import Path

from peft import PeftModel

from ..core.chat import ChatConfig, ChatError, send, served_models
from .policy import Policy

KEPT = 2
"""Adapters left on the server: the present one, and the one before for whoever still samples from it."""


class AdapterServer:
    """A server's adapters of one policy.

    Args:
        server: whose `model` begins the adapters' names.
        folder: that both read.
        policy: with an adapter, whose base model the server serves.

    Raises:
        ValueError: the policy has no adapter.
    """

    def __init__(self, server: ChatConfig, folder: Path, policy: Policy) -> None:
        if not isinstance(policy.network, PeftModel):
            raise ValueError(
                "generator.weights=adapter sends a LoRA adapter, and the model has none; set "
                "model.lora_rank, or generator.weights=server for whatever weights the server has"
            )
        self._server = server
        self._folder = folder.resolve()
        self._policy = policy
        self._network = policy.network
        self._loaded: deque[str] = deque()
        self._present = ""

    def name(self) -> str:
        """The name of the adapter with the policy's present weights, which the server has.

        Raises:
            ChatError: the server does not take it.
        """
        name = f"{self._server.model}-{self._digest()}"
        if name != self._present:
            self._load(name)
            self._present = name
        return name

    def _digest(self) -> str:
        config = self._policy.config
        whole = hashlib.sha256(repr((config.lora_rank, config.lora_alpha, config.lora_layers)).encode())
        for name, weight in sorted(self._policy.trained_arrays().items()):
            whole.update(name.encode())
            whole.update(weight.tobytes())
        return whole.hexdigest()[:16]

    def _load(self, name: str) -> None:
        path = self._folder / name
        self._write(path)
        try:
            send(self._server, "load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        except ChatError as error:
            # A server refuses a name that it has, which is what was wanted.
            if self._has(name):
                return
            raise ChatError(
                f"{error}: it does not take the adapter {path}; the server must serve the base model, see "
                "that folder, and load adapters at run time (vLLM: --enable-lora, --max-lora-rank, "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True), or use generator.weights=server"
            ) from error
        self._loaded.append(name)
        if len(self._loaded) > KEPT:
            old = self._loaded.popleft()
            send(self._server, "unload_lora_adapter", {"lora_name": old})
            shutil.rmtree(self._folder / old, ignore_errors=True)

    def _has(self, name: str) -> bool:
        try:
            return name in served_models(self._server)
        except ChatError:
            return False

    def _write(self, path: Path) -> None:
        """Write the adapter as peft and servers read it, whole or not at all."""
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        self._network.save_pretrained(str(temporary), save_embedding_layers=False)
        try:
            temporary.rename(path)
        except OSError:
            shutil.rmtree(temporary)
            if not path.is_dir():
                raise
