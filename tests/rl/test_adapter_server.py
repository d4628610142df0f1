"""A server samples with the adapter that is being trained, or says what keeps it from doing so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kalie.core.chat import ChatError
from kalie.core.checkpoint import load_tensors
from kalie.rl.generation import OpenAIGeneratorConfig, make_generator, respond_all
from kalie.rl.models import TinyLMConfig
from kalie.rl.policy import Policy
from kalie.rl.types import Observation

from ..affordance.chat_server import serve

ONE_TOKEN = {
    "choices": [{"token_ids": [65], "finish_reason": "length", "logprobs": {"token_logprobs": [-1.0]}}]
}


class AdapterHandler(BaseHTTPRequestHandler):
    """vLLM's runtime adapters, as far as a client sees them: names are taken once, known ones answer."""

    server: AdapterLoadingServer  # pyright: ignore[reportIncompatibleVariableOverride]  the one that makes it

    def do_GET(self) -> None:
        self._reply(200, {"data": [{"id": name} for name in ["base", *self.server.adapters]]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        adapters = self.server.adapters
        self.server.asked.append((self.path.removeprefix("/v1/"), body))
        if self.path == "/v1/load_lora_adapter":
            path = Path(body["lora_path"])
            if body["lora_name"] in adapters or not (path / "adapter_config.json").is_file():
                return self._reply(400, {"error": "no"})
            adapters[body["lora_name"]] = load_tensors(path / "adapter_model.safetensors")
            return self._reply(200, "Success")
        if self.path == "/v1/unload_lora_adapter":
            del adapters[body["lora_name"]]
            return self._reply(200, "Success")
        if body["model"] not in adapters:
            return self._reply(404, {"error": "no such model"})
        return self._reply(200, ONE_TOKEN)

    def _reply(self, status: int, value: object) -> None:
        self.send_response(status)
        self.end_headers()
        # As vLLM's: what was done is said in plain text.
        self.wfile.write(value.encode() if isinstance(value, str) else json.dumps(value).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's names
        pass


class AdapterLoadingServer(HTTPServer):
    adapters: dict[str, dict[str, torch.Tensor]]
    asked: list[tuple[str, dict[str, Any]]]

    def times(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked == path for asked, _ in self.asked)


@pytest.fixture
def adapter_server() -> Iterator[AdapterLoadingServer]:
    server = AdapterLoadingServer(("127.0.0.1", 0), AdapterHandler)
    server.adapters, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def asking(server: HTTPServer, folder: Path) -> OpenAIGeneratorConfig:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return OpenAIGeneratorConfig(url=url, attempts=1, slots=2, adapters=folder)


ADAPTED = TinyLMConfig(hidden=32, layers=1, heads=2, lora_rank=2)


def change(policy: Policy) -> None:
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.add_(0.5)


def test_a_server_samples_with_the_weights_of_each_update(
    adapter_server: AdapterLoadingServer, tmp_path: Path
) -> None:
    policy = Policy.load(ADAPTED, 0)
    config = asking(adapter_server, tmp_path / "adapters")
    generator, evaluating = make_generator(config, policy), make_generator(config, policy)
    prompts = [policy.conversation().observe(Observation("x"))] * 3
    names = []
    for update in range(4):
        if update:
            change(policy)
        for one in (generator, evaluating):
            one.restart()
            respond_all(one, prompts, [np.random.default_rng(n) for n in range(3)])
        asked = {body["model"] for path, body in adapter_server.asked[-6:] if path == "completions"}
        assert len(asked) == 1
        names += asked
        served = adapter_server.adapters[names[-1]]
        own = {name.removeprefix("network."): w for name, w in policy.trained().items()}
        assert {name.replace(".weight", ".default.weight") for name in served} == own.keys()
        for name, weight in served.items():
            assert torch.equal(weight, own[name.replace(".weight", ".default.weight")])
    assert len(set(names)) == 4
    # The present adapter and the one before are left, on the server and on the disk.
    assert list(adapter_server.adapters) == names[-2:]
    assert sorted(path.name for path in (tmp_path / "adapters").iterdir()) == sorted(names[-2:])


def test_weights_that_did_not_change_are_not_sent_again(
    adapter_server: AdapterLoadingServer, tmp_path: Path
) -> None:
    policy = Policy.load(ADAPTED, 0)
    generator = make_generator(asking(adapter_server, tmp_path), policy)
    prompt = policy.conversation().observe(Observation("x"))
    for _ in range(3):
        generator.restart()
        respond_all(generator, [prompt], [np.random.default_rng(0)])
    assert adapter_server.times("load_lora_adapter") == 1
    assert adapter_server.times("completions") == 3


def test_when_a_server_takes_no_adapters_expect_what_it_needs_to_be_named(
    policy: Policy, tmp_path: Path
) -> None:
    adapted = Policy.load(ADAPTED, 0)
    prompt = adapted.conversation().observe(Observation("x"))
    with serve((404, b"Not Found", 0.0), json.dumps({"data": []}).encode()) as server:
        config = asking(server, tmp_path)
        with pytest.raises(ChatError, match="--enable-lora"):
            respond_all(make_generator(config, adapted), [prompt], [np.random.default_rng(0)])
        with pytest.raises(ValueError, match=r"model\.lora_rank"):
            make_generator(config, policy)
