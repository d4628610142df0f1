"""The learned segmenters, on tiny random models of the real classes; nothing is downloaded.

`segment_anything` is played by a stand-in module, since it needs torchvision; what is tested is our adapter's
use of its published interface.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertTokenizerFast,  # pyright: ignore[reportAttributeAccessIssue]  made when it is asked for
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    PreTrainedModel,
    ProcessorMixin,
    SamConfig,
    SamImageProcessorPil,
    SamModel,
    SamProcessor,
    SwinConfig,
)

from kalie.perception.frame import ImageArray, Intrinsics, RgbdFrame
from kalie.perception.sam import (
    Detection,
    GroundingDino,
    MissingExtraError,
    PromptedSegmenter,
    SegmentAnything,
    TransformersSam,
)
from kalie.perception.segmentation import (
    BoxPrompt,
    InstanceMask,
    PointPrompt,
    SegmentationError,
    TabletopConfig,
    TabletopSegmenter,
    TextPrompt,
)
from kalie.perception.segmenters import (
    SEGMENTERS,
    GroundedSamConfig,
    SegmentAnythingConfig,
    build_segmenter,
)

BOX, POINT = BoxPrompt(10.0, 8.0, 40.0, 30.0), PointPrompt(30.0, 20.0)


@pytest.fixture(scope="module")
def frame() -> RgbdFrame:
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    camera = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    return RgbdFrame(rgb, np.ones((48, 64), np.float32), camera)


@pytest.fixture(scope="module")
def tiny_sam(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 64, "patch_size": 16, "mlp_dim": 32, "window_size": 2, "global_attn_indexes": [1],
        "num_pos_feats": 8,
    }  # fmt: skip
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
        "iou_head_hidden_dim": 16, "iou_head_depth": 2,
    }  # fmt: skip
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    size = {"longest_edge": 64}
    image_processor = SamImageProcessorPil(size=size, pad_size={"height": 64, "width": 64})
    return saved(tmp_path_factory.mktemp("sam"), SamModel(config), SamProcessor(image_processor))


@pytest.fixture(scope="module")
def tiny_dino(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dino")
    # The model knows [CLS], [SEP], "." and "?" by BERT's own token numbers.
    words = [f"[unused{index}]" for index in range(1100)]
    known = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for index, word in {**known, 1050: "brush", 1051: "towel"}.items():
        words[index] = word
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    text = BertConfig(
        vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    backbone = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage2", "stage3", "stage4"],  # pyright: ignore[reportCallIssue]
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, num_queries=5, encoder_layers=2,
        decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_attention_heads=2, max_text_len=16,
    )  # fmt: skip
    image_processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    processor = GroundingDinoProcessor(image_processor, tokenizer)
    return saved(folder, GroundingDinoForObjectDetection(config), processor)


def saved(folder: Path, model: PreTrainedModel, processor: ProcessorMixin) -> str:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


class FixedMasks:
    """A mask predictor that fills the box, or 3x3 pixels around the point."""

    def predict(self, rgb: ImageArray, prompts: Sequence[BoxPrompt | PointPrompt]) -> list[InstanceMask]:
        return [InstanceMask(self._mask(rgb, prompt), 0.5) for prompt in prompts]

    @staticmethod
    def _mask(rgb: ImageArray, prompt: BoxPrompt | PointPrompt) -> np.ndarray:
        mask = np.zeros(rgb.shape[:2], bool)
        if isinstance(prompt, BoxPrompt):
            mask[int(prompt.top) : int(prompt.bottom), int(prompt.left) : int(prompt.right)] = True
        else:
            mask[int(prompt.v) - 1 : int(prompt.v) + 2, int(prompt.u) - 1 : int(prompt.u) + 2] = True
        return mask


class FixedDetector:
    """Knows where the brush is, and nothing else."""

    def detect(self, rgb: ImageArray, text: str) -> Detection | None:
        return Detection(BOX, 0.8) if text == "brush" else None


def test_sam_answers_boxes_and_points_with_masks_of_the_image(frame: RgbdFrame, tiny_sam: str) -> None:
    masks = TransformersSam(tiny_sam).predict(frame.rgb, [BOX, POINT])
    assert [mask.mask.shape for mask in masks] == [(48, 64), (48, 64)]
    assert all(mask.mask.dtype == np.bool_ and 0 <= mask.score <= 1 for mask in masks)


def test_sam_is_deterministic_and_prompts_do_not_disturb_each_other(frame: RgbdFrame, tiny_sam: str) -> None:
    sam = TransformersSam(tiny_sam)
    box_first, point_second = sam.predict(frame.rgb, [BOX, POINT])
    (point_alone,) = sam.predict(frame.rgb, [POINT])
    assert np.array_equal(point_second.mask, point_alone.mask)
    assert point_second.score == point_alone.score
    assert np.array_equal(sam.predict(frame.rgb, [BOX])[0].mask, box_first.mask)


def test_sam_agrees_with_the_model_called_in_one_go(frame: RgbdFrame, tiny_sam: str) -> None:
    processor = SamProcessor(SamImageProcessorPil.from_pretrained(tiny_sam))
    model = SamModel.from_pretrained(tiny_sam).eval()
    box = [[[BOX.left, BOX.top, BOX.right, BOX.bottom]]]
    inputs = processor(images=frame.rgb, input_boxes=box, return_tensors="pt")  # pyright: ignore[reportCallIssue]
    sizes, padded = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    with torch.no_grad():
        outputs = model(
            pixel_values=inputs["pixel_values"],
            input_boxes=inputs["input_boxes"].float(),
            multimask_output=False,
        )
    expected = processor.image_processor.post_process_masks(outputs.pred_masks, sizes, padded)[0]
    found = TransformersSam(tiny_sam).predict(frame.rgb, [BOX])[0].mask
    assert np.array_equal(found, expected[0, 0].numpy())


def test_grounding_dino_gives_its_most_confident_box(frame: RgbdFrame, tiny_dino: str) -> None:
    detection = GroundingDino(tiny_dino, box_threshold=0.0, text_threshold=0.0).detect(frame.rgb, "brush")
    assert detection is not None
    assert 0 < detection.score < 1
    box = detection.box
    assert box.left < box.right
    assert box.top < box.bottom
    assert -40 < box.left < 104


def test_when_nothing_passes_the_threshold_expect_no_box(frame: RgbdFrame, tiny_dino: str) -> None:
    assert GroundingDino(tiny_dino, box_threshold=1.0).detect(frame.rgb, "brush") is None


def test_grounded_sam_is_built_from_its_config_and_loaded_once(
    frame: RgbdFrame, tiny_sam: str, tiny_dino: str
) -> None:
    config = GroundedSamConfig(detector=tiny_dino, sam=tiny_sam, box_threshold=0.0, text_threshold=0.0)
    segmenter = build_segmenter(config)
    assert build_segmenter(GroundedSamConfig(tiny_dino, tiny_sam, 0.0, 0.0)) is segmenter
    prompts = [TextPrompt("brush"), BOX]
    found = segmenter.segment(frame, prompts)
    assert {instance.prompt for instance in found.instances} <= set(prompts)
    assert found.instance_map().shape == (48, 64)


def test_a_text_is_found_by_the_detector_and_outlined_by_the_mask_predictor(frame: RgbdFrame) -> None:
    segmenter = PromptedSegmenter(FixedMasks(), FixedDetector())
    prompts = [POINT, TextPrompt("unicorn"), TextPrompt("brush")]
    found = segmenter.segment(frame, prompts)
    assert [instance.prompt for instance in found.instances] == [POINT, TextPrompt("brush")]
    assert [instance.score for instance in found.instances] == pytest.approx([0.5, 0.4])
    assert found.instances[1].mask.sum() == 30 * 22


def test_when_nothing_is_found_expect_an_empty_segmentation(frame: RgbdFrame) -> None:
    found = PromptedSegmenter(FixedMasks(), FixedDetector()).segment(frame, [TextPrompt("unicorn")])
    assert found.instances == ()
    assert not found.instance_map().any()


def test_when_a_mask_is_empty_expect_no_instance(frame: RgbdFrame) -> None:
    assert PromptedSegmenter(FixedMasks()).segment(frame, [BoxPrompt(5, 5, 5, 5)]).instances == ()


def test_when_there_is_no_prompt_expect_an_error(frame: RgbdFrame) -> None:
    with pytest.raises(SegmentationError, match="at least one"):
        PromptedSegmenter(FixedMasks()).segment(frame)


def test_when_a_text_meets_no_detector_expect_it_named(frame: RgbdFrame) -> None:
    with pytest.raises(SegmentationError, match="'brush': no detector"):
        PromptedSegmenter(FixedMasks()).segment(frame, [TextPrompt("brush")])


def test_when_a_model_cannot_be_had_expect_it_named(tmp_path: Path) -> None:
    with pytest.raises(SegmentationError, match="nothing_here: cannot be loaded"):
        TransformersSam(str(tmp_path / "nothing_here"))


def fake_segment_anything(calls: list[dict[str, Any]]) -> ModuleType:
    """A module with the part of segment-anything's interface that its readme documents."""

    class SamPredictor:
        images: ClassVar[int] = 0

        def __init__(self, model: object) -> None:
            self.model = model

        def set_image(self, image: np.ndarray) -> None:
            assert image.dtype == np.uint8
            SamPredictor.images += 1
            self.shape = image.shape[:2]

        def predict(self, **arguments: object) -> tuple[np.ndarray, np.ndarray, None]:
            calls.append(arguments)
            count = 3 if arguments["multimask_output"] else 1
            masks = np.zeros((count, *self.shape), bool)
            masks[-1, 5:9, 5:9] = True
            return masks, np.linspace(0.5, 1.02, count) if count > 1 else np.array([0.7]), None

    class Model:
        def __init__(self, checkpoint: str) -> None:
            self.checkpoint = checkpoint

        def to(self, device: str) -> Model:
            calls.append({"device": device, "checkpoint": self.checkpoint})
            return self

    module = ModuleType("segment_anything")
    module.SamPredictor = SamPredictor  # pyright: ignore[reportAttributeAccessIssue]
    module.sam_model_registry = {"vit_b": Model}  # pyright: ignore[reportAttributeAccessIssue]
    return module


def test_segment_anything_is_called_as_it_documents(
    frame: RgbdFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    module = fake_segment_anything(calls)
    monkeypatch.setitem(sys.modules, "segment_anything", module)
    checkpoint = tmp_path / "sam.pth"
    checkpoint.write_bytes(b"weights")
    segmenter = build_segmenter(SegmentAnythingConfig(checkpoint, size="vit_b"))
    found = segmenter.segment(frame, [BOX, POINT])
    assert calls[0] == {"device": "cpu", "checkpoint": str(checkpoint)}
    assert np.array_equal(calls[1]["box"], [10, 8, 40, 30])
    assert np.array_equal(calls[2]["point_coords"], [[30, 20]])
    assert np.array_equal(calls[2]["point_labels"], [1])
    assert module.SamPredictor.images == 1
    assert [instance.score for instance in found.instances] == [0.7, 1.0]
    assert [instance.mask.sum() for instance in found.instances] == [16, 16]


def test_when_segment_anything_is_missing_expect_the_extra_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kalie\[sam\]'"):
        SegmentAnything(tmp_path / "sam.pth")


def test_when_the_checkpoint_is_missing_expect_it_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", fake_segment_anything([]))
    with pytest.raises(SegmentationError, match=r"sam.pth: no such checkpoint"):
        SegmentAnything(tmp_path / "sam.pth", "vit_b")


def test_the_default_segmenter_is_the_tabletop_one() -> None:
    assert next(iter(SEGMENTERS)) == "tabletop"
    segmenter = build_segmenter(TabletopConfig())
    assert isinstance(segmenter, TabletopSegmenter)
    assert build_segmenter(TabletopConfig()) is segmenter


def test_when_a_threshold_is_no_share_expect_it_named() -> None:
    with pytest.raises(ValueError, match=r"box_threshold=1.5"):
        GroundedSamConfig(box_threshold=1.5)
