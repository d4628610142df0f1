"""A minimal client of any server that speaks the OpenAI chat protocol (vLLM, SGLang, hosted ones)."""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .ranges import above, at_least

# An answer is a few hundred characters; a server that sends more than this is broken or hostile.
MAX_REPLY_BYTES = 1 << 20
_CHUNK = 1 << 14


class ChatError(ConnectionError):
    """The endpoint gave no usable answer; the message names its address."""


@dataclass(frozen=True)
class ChatConfig:
    """Where a chat model is served.

    Attributes:
        url: base address that ends in /v1.
        model: name the server knows the model by.
        api_key_variable: environment variable that holds the key; empty for none.
        timeout_s: seconds to wait for one answer.
        attempts: tries before giving up; waits 1, 2, 4 ... seconds in between.
    """

    url: str
    model: str
    api_key_variable: str = ""
    timeout_s: float = 60.0
    attempts: int = 3

    def __post_init__(self) -> None:
        above(self, 0, "timeout_s")
        at_least(self, 1, "attempts")


def ask(
    config: ChatConfig, prompt: str, image: NDArray[np.uint8] | None = None, temperature: float = 0.0
) -> str:
    """The model's answer to a prompt and, if given, a uint8 (H, W, 3) RGB image.

    Raises:
        ChatError: when every attempt failed or the reply holds no text.
    """
    content: list[dict[str, object]] = [{"type": "text", "text": prompt}]
    if image is not None:
        content.append({"type": "image_url", "image_url": {"url": data_url(image)}})
    body = {
        "model": config.model,
        "temperature": temperature,
        "messages": [{"role": "user", "content": content}],
    }
    return completion_text(config, body)


def completion_text(config: ChatConfig, body: Mapping[str, object]) -> str:
    """The text that a chat completion's first choice holds.

    Args:
        config: the server.
        body: of the request.

    Raises:
        ChatError: when every attempt failed or the reply holds no text.
    """
    address = _address(config, "chat/completions")
    reply = _post_json(config, "chat/completions", body, "chat completion")
    try:
        text = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ChatError(f"{address}: reply is not a chat completion: {str(reply)[:200]!r}") from error
    if not isinstance(text, str):
        raise ChatError(f"{address}: reply holds no text: {str(reply)[:200]!r}")
    return text


def post(config: ChatConfig, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    """The JSON object that a server answers a request with.

    Args:
        config: the server.
        path: below its base address.
        body: of the request.

    Raises:
        ChatError: when every attempt failed or the reply is no JSON object.
    """
    return _post_json(config, path, body, "JSON object")


def send(config: ChatConfig, path: str, body: Mapping[str, object]) -> None:
    """A request of which nothing is wanted but that the server does it.

    Raises:
        ChatError: when every attempt failed.
    """
    _request(config, _address(config, path), json.dumps(body).encode())


def served_models(config: ChatConfig) -> list[str]:
    """The names of the models, adapters among them, that a server has.

    Raises:
        ChatError: when every attempt failed or the reply is no list of models.
    """
    address = _address(config, "models")
    reply = _request(config, address, None)
    try:
        return [str(model["id"]) for model in json.loads(reply)["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ChatError(f"{address}: reply is not a list of models: {reply[:200]!r}") from error


def _post_json(config: ChatConfig, path: str, body: Mapping[str, object], wanted: str) -> dict[str, Any]:
    address = _address(config, path)
    reply = _request(config, address, json.dumps(body).encode())
    try:
        value = json.loads(reply)
    except (ValueError, RecursionError) as error:
        raise ChatError(f"{address}: reply is not a {wanted}: {reply[:200]!r}") from error
    if not isinstance(value, dict):
        raise ChatError(f"{address}: reply is not a {wanted}: {reply[:200]!r}")
    return value


def _address(config: ChatConfig, path: str) -> str:
    return f"{config.url.rstrip('/')}/{path}"


def _request(config: ChatConfig, address: str, body: bytes | None) -> bytes:
    """The reply to a POST of a body, or to a GET."""
    if not address.startswith(("http://", "https://")):
        raise ChatError(f"{address}: expected an http or https address")
    request = urllib.request.Request(address, body, _headers(config))  # noqa: S310 (scheme checked above)
    failure = ""
    for attempt in range(config.attempts):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            return _exchange(request, config.timeout_s)
        except urllib.error.HTTPError as error:
            failure = f"HTTP {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, http.client.HTTPException) as error:
            failure = str(error) or type(error).__name__
    raise ChatError(f"{address}: {failure}")


def _headers(config: ChatConfig) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if config.api_key_variable:
        if config.api_key_variable not in os.environ:
            raise ChatError(f"{config.url}: its key is wanted in {config.api_key_variable}, which is not set")
        headers["Authorization"] = f"Bearer {os.environ[config.api_key_variable]}"
    return headers


def _exchange(request: urllib.request.Request, timeout_s: float) -> bytes:
    """One request and its whole reply, which may be neither endless nor drip in for ever."""
    deadline = time.monotonic() + timeout_s
    data = bytearray()
    with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
        while chunk := reply.read1(_CHUNK):
            data += chunk
            if len(data) > MAX_REPLY_BYTES:
                raise http.client.HTTPException(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("timed out while reading the reply")
    return bytes(data)


def data_url(image: NDArray[np.uint8]) -> str:
    """A uint8 (H, W, 3) RGB image as a PNG data URL."""
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
