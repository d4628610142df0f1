"""TRL's trainers, a step at a time: the other side of rl_throughput.py, in the environment of peers.txt.

    python benchmarks/peer_trl.py

A JSON object a line comes in, and one goes out for each:

    {"trainer": "sft", "model": FOLDER, "rows": {...}}    then a training waits
    {"rollouts": FOLDER, "prompts": [...], "each": 8, "tokens": 64}    then a GRPO trainer waits to generate
    {"calls": 3}    that many steps, or batches of rollouts: {"seconds": CPU time, "losses": [...]}
    {"end": true}

Every setting is the trainer's own, but for what all sides share (rate, clipping, no decay, loss on responses
alone, rows in their order) and what the comparison leaves out: checkpointed activations and bfloat16, which
TRL has on by default.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

_OUT = os.fdopen(os.dup(1), "w", buffering=1)
"""Where answers go: what the libraries print goes to standard error."""


def answer(**values: Any) -> None:  # noqa: ANN401  JSON
    """Say something."""
    _OUT.write(json.dumps(values) + "\n")


def ask() -> dict[str, Any]:
    """The next request; the end of the input ends everything."""
    line = sys.stdin.readline()
    return json.loads(line) if line else {"end": True}


class Turns(TrainerCallback):
    """Lets a training go on for as many steps as are asked for, and measures them."""

    def __init__(self, losses: list[float]) -> None:
        self._losses = losses
        self._left = 0
        self._begin = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """Wait for the first request."""
        answer(ready=True)
        self._wait(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """Answer a request once its steps are done, and wait for the next."""
        self._left -= 1
        if not self._left:
            answer(seconds=time.process_time() - self._begin, losses=self._losses)
            self._losses.clear()
            self._wait(control)

    def _wait(self, control: Any) -> None:  # noqa: ANN401
        request = ask()
        self._left = request.get("calls", 0)
        control.should_training_stop = not self._left
        self._begin = time.process_time()


# ---- training --------------------------------------------------------------------------------------------


def shared(folder: str, batch: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of every trainer's config."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "learning_rate": settings["rate"],
        "max_grad_norm": settings["gradient_clip"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_steps": 10**9,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",
    }


def noting(trainer: type, losses: list[float]) -> type:
    """A trainer that notes the loss of each step."""

    class Noting(trainer):
        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
            loss = super().training_step(*args, **kwargs)
            losses.append(float(loss))
            return loss

    return Noting


class Job(NamedTuple):
    """What a trainer is made of.

    Attributes:
        folder: of the model.
        rows: to learn from.
        pad: id of the padding token.
        common: arguments of its config.
    """

    folder: str
    rows: dict[str, Any]
    pad: int
    common: dict[str, Any]


Made: TypeAlias = tuple[type, dict[str, Any]]
"""A trainer's class and its arguments."""


def sft(job: Job) -> Made:
    """TRL's, on token ids."""
    pairs = list(zip(job.rows["prompts"], job.rows["responses"], strict=True))
    data = {
        "input_ids": [prompt + response for prompt, response in pairs],
        "completion_mask": [[0] * len(prompt) + [1] * len(response) for prompt, response in pairs],
    }
    config = trl.SFTConfig(**job.common, max_length=None, completion_only_loss=True)
    return trl.SFTTrainer, {"args": config, "train_dataset": Dataset.from_dict(data)}


def dpo(job: Job) -> Made:
    """TRL's, on token ids; its batch counts pairs."""

    class Tokenised(trl.DPOTrainer):
        def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:  # noqa: ANN401
            return dataset

    rows = job.rows
    data = {
        "prompt_ids": rows["prompts"][0::2],
        "chosen_ids": rows["responses"][0::2],
        "rejected_ids": rows["responses"][1::2],
    }
    common = {**job.common, "per_device_train_batch_size": rows["batch"] // 2}
    config = trl.DPOConfig(**common, max_length=None, beta=rows["settings"]["beta"])
    reference = AutoModelForCausalLM.from_pretrained(job.folder)
    return Tokenised, {"args": config, "train_dataset": Dataset.from_dict(data), "ref_model": reference}


def grpo(job: Job) -> Made:
    """TRL's, with the given responses in the place of those that it would generate."""
    rows, count = job.rows, len(job.rows["prompts"])
    parts = [responses_of(rows, first, job.pad) for first in range(0, count, rows["batch"])]

    class Given(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
            return dict(parts[self._step % len(parts)])

    config = trl.GRPOConfig(
        **job.common,
        num_generations=2,
        loss_type="bnpo",  # a mean over all tokens of a batch
        beta=0.0,
        epsilon=rows["settings"]["clip"],
    )
    prompts = Dataset.from_dict({"prompt": ["x"] * count})
    return Given, {"args": config, "train_dataset": prompts, "reward_funcs": share_of_e}


def responses_of(rows: dict[str, Any], first: int, pad: int) -> dict[str, torch.Tensor]:
    """What GRPO's loss takes: prompts padded on the left, responses on the right."""
    chosen = slice(first, first + rows["batch"])
    prompts, responses = rows["prompts"][chosen], rows["responses"][chosen]
    widest, longest = max(map(len, prompts)), max(map(len, responses))

    def right(parts: list[list[Any]], filler: float) -> torch.Tensor:
        return torch.tensor([part + [filler] * (longest - len(part)) for part in parts])

    return {
        "prompt_ids": torch.tensor([[pad] * (widest - len(prompt)) + prompt for prompt in prompts]),
        "prompt_mask": torch.tensor([[0] * (widest - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        "completion_ids": right(responses, pad),
        "completion_mask": right([[1] * len(response) for response in responses], 0),
        "advantages": torch.tensor(rows["advantages"][chosen]),
        "old_per_token_logps": right(rows["old_log_probs"][chosen], 0.0),
    }


TRAINERS: dict[str, Callable[[Job], Made]] = {"sft": sft, "dpo": dpo, "grpo": grpo}


def train(request: dict[str, Any]) -> None:
    """A training that goes on as it is asked to."""
    rows, losses = request["rows"], list[float]()
    model, tokenizer = load(request["model"])
    with tempfile.TemporaryDirectory() as folder:
        common = shared(folder, rows["batch"], rows["settings"])
        job = Job(request["model"], rows, tokenizer.pad_token_id, common)
        trainer, arguments = TRAINERS[request["trainer"]](job)
        made = noting(trainer, losses)(
            model=model, processing_class=tokenizer, callbacks=[Turns(losses)], **arguments
        )
        made.train()
    answer(ended=True)


def load(folder: str) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


# ---- rollouts --------------------------------------------------------------------------------------------


def share_of_e(completions: list[Any], **_: Any) -> list[float]:  # noqa: ANN401
    """The reward of rl_throughput.py's environment: how much of a response is the letter e."""
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [text.count("e") / max(1, len(text)) for text in texts]


def roll_out(request: dict[str, Any]) -> None:
    """Batches of rollouts, generated and rewarded as a GRPO step would."""
    model, tokenizer = load(request["rollouts"])
    prompts = [{"prompt": [{"role": "user", "content": text}]} for text in request["prompts"]]
    with tempfile.TemporaryDirectory() as folder:
        config = trl.GRPOConfig(
            **shared(folder, len(prompts), {"rate": 1e-4, "gradient_clip": 1.0}),
            num_generations=request["each"],
            max_completion_length=request["tokens"],
            beta=0.0,
        )
        trainer = trl.GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            args=config,
            train_dataset=Dataset.from_list(prompts),
            reward_funcs=share_of_e,
        )
        trainer.model.train()
        answer(ready=True)
        while calls := ask().get("calls"):
            begin, lengths = time.process_time(), []
            for _ in range(calls):
                out = trainer._generate_and_score_completions(prompts)  # the version is pinned
                lengths.append(float(out["completion_mask"].sum(1).float().mean()))
            answer(seconds=time.process_time() - begin, lengths=lengths)
    answer(ended=True)


def main() -> None:
    """Serve requests."""
    os.dup2(2, 1)
    torch.set_num_threads(1)
    answer(trl=trl.__version__, transformers=transformers.__version__, torch=torch.__version__)
    while "end" not in (request := ask()):
        if "trainer" in request:
            train(request)
        else:
            roll_out(request)


if __name__ == "__main__":
    main()
