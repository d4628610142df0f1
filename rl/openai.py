"""Responses from a server that speaks the OpenAI protocol; imported where `generator=openai` asks for it.

Of a server with `protocol=completions` the prompt's ids are sent and the sampled ids taken: nothing is
tokenised twice. With `protocol=chat` there is only text; its ids are made here, for counting and for the next
prompt, and no algorithm that trains on ids accepts them (`generation.check_capabilities`).
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from ..core.chat import ChatError, completion_text, data_url, post
from .adapter_server import AdapterServer
from .decoder import Response
from .generation import OpenAIGeneratorConfig
from .policy import Policy
from .prompts import Message, Prompt


class OpenAIGenerator:
    """Asks a server for many responses at a time; see `generation.Generator`.

    Args:
        config: the server and the sampling.
        policy: whose tokenizer and end tokens the server's model shares.

    Raises:
        ValueError: the model reads images, whose placeholders only the server's own chat endpoint can fill;
            or it has no adapter for the server to sample with.
    """

    def __init__(self, config: OpenAIGeneratorConfig, policy: Policy) -> None:
        if policy.images is not None and config.protocol == "completions":
            raise ValueError("generator.protocol=completions sends no images; use chat, or generator=hf")
        self.slots = config.slots
        self.tokens_sampled = 0
        self.tokens_read = 0
        self._config = config
        self._policy = policy
        sends = config.weights == "adapter"
        self._adapters = AdapterServer(config.server, config.adapters, policy) if sends else None
        self._model = ""
        self._threads = ThreadPoolExecutor(config.slots, thread_name_prefix="openai")
        self._running: dict[Future[Response], int] = {}

    def restart(self) -> None:
        """See `Generator`: the server gets the new weights with the next request."""
        self._model = ""

    def submit(self, slot: int, prompt: Prompt, rng: np.random.Generator) -> None:
        """Send a request.

        Raises:
            ChatError: the server does not take the policy's adapter.
        """
        self._model = self._model or (self._adapters.name() if self._adapters else self._config.model)
        seed = int(rng.integers(2**31))
        self.tokens_read += len(prompt.ids)
        ask = self._chat if self._config.protocol == "chat" else self._complete
        self._running[self._threads.submit(ask, prompt, seed)] = slot

    def poll(self) -> list[tuple[int, Response]]:
        """Wait for at least one response.

        Raises:
            ChatError: the server gave none, or one without what the config promises.
        """
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        found = [(self._running.pop(future), future.result()) for future in done]
        self.tokens_sampled += sum(len(response.ids) for _, response in found)
        return sorted(found, key=lambda pair: pair[0])

    def _sampling(self, seed: int) -> dict[str, object]:
        """The settings of a request; a server's own defaults for the top probabilities are switched off."""
        config = self._config
        return {
            "model": self._model,
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": 1.0,
            "seed": seed,
        }

    def _complete(self, prompt: Prompt, seed: int) -> Response:
        config, policy = self._config, self._policy
        own = {
            "prompt": prompt.ids.tolist(),
            "top_k": -1,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "stop_token_ids": policy.end_ids,
            "return_token_ids": True,
            "logprobs": None if config.log_probs == "none" else 1,
        }
        reply = post(config.server, "completions", {**self._sampling(seed), **own})
        return self._read(reply)

    def _read(self, reply: dict[str, Any]) -> Response:
        where = f"{self._config.url}/completions"
        try:
            choice = reply["choices"][0]
            ids = [int(token) for token in choice["token_ids"]]
            given = choice["logprobs"]["token_logprobs"] if self._config.log_probs != "none" else None
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ChatError(
                f"{where}: the reply lacks token ids or log-probs ({error}); the server must support "
                "return_token_ids, or use generator.protocol=chat"
            ) from error
        if choice.get("finish_reason") == "stop" and (not ids or ids[-1] not in self._policy.end_ids):
            raise ChatError(f"{where}: the sampled end token is missing from the reply's token ids")
        if given is not None and (len(given) != len(ids) or None in given):
            raise ChatError(f"{where}: {len(given)} log-probs for {len(ids)} tokens")
        log_probs = np.full(len(ids), np.nan) if given is None else np.array(given)
        return Response(np.array(ids, dtype=np.int64), log_probs.astype(np.float32))

    def _chat(self, prompt: Prompt, seed: int) -> Response:
        system = self._policy.config.system
        messages = [{"role": "system", "content": system}] if system else []
        messages += [_message(message) for message in prompt.messages]
        text = completion_text(self._config.server, {**self._sampling(seed), "messages": messages})
        ids = [*self._policy.renderer.text_ids(text), self._policy.end_ids[0]]
        # Not a number, so that whoever uses them by mistake notices.
        return Response(np.array(ids, dtype=np.int64), np.full(len(ids), np.nan, dtype=np.float32))


def _message(message: Message) -> dict[str, Any]:
    pictures = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in message.images]
    content: object = [*pictures, {"type": "text", "text": message.text}] if pictures else message.text
    return {"role": message.role, "content": content}
