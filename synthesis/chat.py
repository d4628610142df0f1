"""A minimal client of any server that speaks the OpenAI chat protocol (vLLM, SGLang, hosted ones)."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


class ChatError(RuntimeError):
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


def ask(
    config: ChatConfig, prompt: str, image: NDArray[np.uint8] | None = None, temperature: float = 0.0
) -> str:
    """The model's answer to a prompt and, if given, a uint8 (H, W, 3) RGB image.

    Raises:
        ChatError: when every attempt failed or the reply holds no text.
    """
    address = config.url.rstrip("/") + "/chat/completions"
    content: list[dict[str, object]] = [{"type": "text", "text": prompt}]
    if image is not None:
        content.append({"type": "image_url", "image_url": {"url": _data_url(image)}})
    body = {
        "model": config.model,
        "temperature": temperature,
        "messages": [{"role": "user", "content": content}],
    }
    reply = _post(config, address, json.dumps(body).encode())
    try:
        return str(json.loads(reply)["choices"][0]["message"]["content"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ChatError(f"{address}: reply is not a chat completion: {reply[:200]!r}") from error


def _post(config: ChatConfig, address: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    if config.api_key_variable:
        headers["Authorization"] = f"Bearer {os.environ.get(config.api_key_variable, '')}"
    if not address.startswith(("http://", "https://")):
        raise ChatError(f"{address}: expected an http or https address")
    request = urllib.request.Request(address, body, headers)  # noqa: S310 (scheme checked above)
    failure = ""
    for attempt in range(config.attempts):
        try:
            with urllib.request.urlopen(request, timeout=config.timeout_s) as reply:  # noqa: S310
                return reply.read()
        except urllib.error.HTTPError as error:
            failure = f"HTTP {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except (urllib.error.URLError, TimeoutError) as error:
            failure = str(error)
        if attempt + 1 < config.attempts:
            time.sleep(2**attempt)
    raise ChatError(f"{address}: {failure}")


def _data_url(image: NDArray[np.uint8]) -> str:
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
