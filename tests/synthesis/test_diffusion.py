"""The diffusion repainter on a tiny random pipeline of the real classes; no download, no GPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage
from kalie.synthesis.checks import CheckConfig
from kalie.synthesis.compose import ComposeConfig
from kalie.synthesis.diffusion import (
    NEGATIVE_PROMPT,
    DiffusionConfig,
    DiffusionRepainter,
    DiffusionUnavailable,
    load_pipeline,
)
from kalie.synthesis.edges import soft_edges
from kalie.synthesis.pipeline import SynthesisConfig, synthesise
from kalie.synthesis.repaint import RepaintRequest

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")

CONFIG = DiffusionConfig(size=64, steps=2, padding=8)


def tiny_tokenizer() -> Any:  # noqa: ANN401
    """A byte-level CLIP tokenizer without merges."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    characters = sorted(ByteLevel.alphabet())
    tokens = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


@pytest.fixture(scope="module")
def pipeline() -> Any:  # noqa: ANN401
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer()
    blocks: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    }
    unet = diffusers.UNet2DConditionModel(
        sample_size=32,
        in_channels=9,
        out_channels=4,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **blocks,
    )
    controlnet = diffusers.ControlNetModel(
        in_channels=4, conditioning_embedding_out_channels=(8, 8), **blocks
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=[8, 8],
        norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
        )
    )
    built = diffusers.StableDiffusionControlNetInpaintPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        controlnet=controlnet,
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    built.set_progress_bar_config(disable=True)
    return built


def request_of(photo: LabelledImage, label: int, seed: int, look: str = "a teal brush") -> RepaintRequest:
    assert photo.masks is not None
    mask = photo.masks == label
    return RepaintRequest(photo.rgb, soft_edges(photo.rgb), mask, mask, look, seed)


def test_only_the_region_is_repainted(pipeline: Any, photos: list[LabelledImage]) -> None:  # noqa: ANN401
    request = request_of(photos[0], 1, seed=1)
    painted = DiffusionRepainter(CONFIG, pipeline).repaint([request])[0]
    assert painted.shape == request.image.shape
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[~request.region], request.image[~request.region])
    assert not np.array_equal(painted[request.region], request.image[request.region])


def test_each_request_has_its_own_seed_whatever_the_batch(
    pipeline: Any,  # noqa: ANN401
    photos: list[LabelledImage],
) -> None:
    painter = DiffusionRepainter(CONFIG, pipeline)
    requests = [request_of(photos[0], 1, seed) for seed in (1, 2)]
    together = painter.repaint(requests)
    alone = painter.repaint(requests[1:])[0]
    assert not np.array_equal(together[0], together[1])
    assert np.abs(together[1].astype(int) - alone).max() <= 1  # batched sums may round differently
    assert painter.repaint([]) == []


class Recorder:
    """Stands in for the pipeline and keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **kwargs: Any) -> Any:  # noqa: ANN401
        self.calls.append(kwargs)
        return type("Output", (), {"images": kwargs["image"]})()


def test_pipeline_sees_prompt_mask_and_moved_edges(photos: list[LabelledImage]) -> None:
    recorder = Recorder()
    request = request_of(photos[0], 2, seed=9, look="a striped ball")
    painted = DiffusionRepainter(CONFIG, recorder).repaint([request])[0]  # pyright: ignore[reportArgumentType]
    call = recorder.calls[0]
    assert call["prompt"][0].startswith("a striped ball, ")
    assert call["negative_prompt"] == [NEGATIVE_PROMPT]
    assert call["generator"][0].initial_seed() == 9
    assert call["image"][0].size == call["mask_image"][0].size == call["control_image"][0].size == (64, 64)
    mask, edges = np.asarray(call["mask_image"][0]), np.asarray(call["control_image"][0])
    assert set(np.unique(mask)) >= {0, 255}
    ys, xs = np.nonzero(edges[..., 0] > 128)
    assert mask[ys, xs].mean() > 60  # the edges run along the mask
    assert np.abs(painted.astype(int) - request.image).mean() < 1  # what comes back is put where it came from


def test_synthesis_runs_in_batches_through_diffusion(
    pipeline: Any,  # noqa: ANN401
    photos: list[LabelledImage],
) -> None:
    compose = ComposeConfig(checks=CheckConfig(edge_agreement=0))  # random weights draw no edges
    config = SynthesisConfig(count=3, compose=compose, repainter=CONFIG, batch=3)
    children = synthesise(photos, config, 0, repainter=DiffusionRepainter(CONFIG, pipeline))
    assert len(children) == 3
    alone = synthesise(photos, replace(config, batch=1), 0, repainter=DiffusionRepainter(CONFIG, pipeline))
    assert [a.affordance for a in children] == [b.affordance for b in alone]


def test_weights_load_from_a_folder(pipeline: Any, tmp_path: Path) -> None:  # noqa: ANN401
    pipeline.save_pretrained(tmp_path / "sd")
    pipeline.controlnet.save_pretrained(tmp_path / "control")
    config = replace(CONFIG, model=str(tmp_path / "sd"), controlnet=str(tmp_path / "control"), device="cpu")
    loaded = load_pipeline(config)
    assert loaded.unet.dtype == torch.float32
    assert loaded.device.type == "cpu"


def test_when_diffusers_is_missing_expect_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(DiffusionUnavailable, match=r"kalie\[diffusion\]"):
        DiffusionRepainter(CONFIG)
