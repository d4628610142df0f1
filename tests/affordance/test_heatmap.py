from __future__ import annotations

import math
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.affordance.backbone import BATCH_NORM_EPSILON, BLOCKS, TAP_CHANNELS, Backbone
from kalie.affordance.encoding import (
    POINTS,
    PRESENCES,
    VALUES,
    axis_angle,
    concatenate,
    decode,
    encode,
    half_turn,
    with_axis,
)
from kalie.affordance.heatmap import HeatmapConfig, HeatmapKeypointModel
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.loss import affordance_loss, gaussians, heatmap_loss, values_loss
from kalie.affordance.schema import KEYPOINT_NAMES, Affordance, Keypoint
from kalie.affordance.shipped import BASE_WEIGHTS, SHIPPED, weights_folder
from kalie.affordance.tokenizer import PAD, UNKNOWN, build_tokenizer, make_vocabulary
from kalie.core.files import SUMS, DamagedFileError, check_sums

from .pictures import stick

WORDS = ("sweep the trash off the left edge", "close the right drawer")


@pytest.fixture(scope="module")
def model() -> HeatmapKeypointModel:
    torch.manual_seed(0)
    vocabulary = list(make_vocabulary(WORDS))
    return HeatmapKeypointModel(HeatmapConfig(image_size=64, vocabulary=vocabulary, layers=1)).eval()


@pytest.fixture(scope="module")
def shipped() -> HeatmapKeypointModel:
    return HeatmapKeypointModel.load()


def picture(seed: int = 0, height: int = 80, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


# ---- the shipped weights ---------------------------------------------------------------------------------


def test_the_shipped_model_keeps_its_promised_size(shipped: HeatmapKeypointModel) -> None:
    assert sum(parameter.numel() for parameter in shipped.parameters()) <= 10_000_000
    assert sum(file.stat().st_size for file in BASE_WEIGHTS.iterdir()) <= 25 * 2**20


def test_the_shipped_weights_are_half_precision_on_disk_and_single_in_memory(
    shipped: HeatmapKeypointModel,
) -> None:
    assert (BASE_WEIGHTS / "model.safetensors").stat().st_size < 2.2 * shipped.num_parameters()
    assert {parameter.dtype for parameter in shipped.parameters()} == {torch.float32}


# ---- answers -----------------------------------------------------------------------------------------------


def test_save_and_load_give_the_same_answers(model: HeatmapKeypointModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = HeatmapKeypointModel.load(tmp_path)
    state, expected = again.state_dict(), model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    first, second = (m.predict([picture()], [WORDS[0]])[0] for m in (model, again))
    assert first == second


def test_when_there_is_no_model_expect_the_folder_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        HeatmapKeypointModel.load(tmp_path)


def test_when_the_weights_lack_a_layer_expect_refusal(model: HeatmapKeypointModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    other = HeatmapKeypointModel(HeatmapConfig(**{**model.config.to_dict(), "layers": 2}))
    other.config.save_pretrained(tmp_path)
    (tmp_path / SUMS).unlink()
    with pytest.raises(ValueError, match=r"joint\.1"):
        HeatmapKeypointModel.load(tmp_path)


def test_when_the_weights_are_cut_off_expect_an_error(model: HeatmapKeypointModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    shutil.copy(file, tmp_path / "whole")
    file.write_bytes((tmp_path / "whole").read_bytes()[:10_000])
    with pytest.raises(Exception, match=r"(?i)safetensors|incomplete|header|deserializ"):
        HeatmapKeypointModel.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_when_any_bit_of_a_model_is_flipped_expect_the_file_named(
    model: HeatmapKeypointModel, tmp_path: Path, name: str
) -> None:
    model.save_pretrained(tmp_path)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=name):
            HeatmapKeypointModel.load(tmp_path)
    (tmp_path / name).write_bytes(whole)
    HeatmapKeypointModel.load(tmp_path)


@pytest.mark.parametrize("folder", SHIPPED.values(), ids=SHIPPED)
def test_the_shipped_weights_are_as_noted(folder: Path) -> None:
    assert (folder / SUMS).is_file()
    check_sums(folder)


def test_a_shipped_name_means_its_folder_and_anything_else_a_folder_of_the_user() -> None:
    assert weights_folder(None) == weights_folder("base") == BASE_WEIGHTS
    assert weights_folder(Path("tasks")) == SHIPPED["tasks"] != BASE_WEIGHTS
    assert weights_folder("outputs/tasks") == Path("outputs/tasks")


def test_answers_do_not_depend_on_what_else_is_in_the_batch(model: HeatmapKeypointModel) -> None:
    images, texts = [picture(0), picture(1)], ["go", WORDS[0]]
    together = model.predict(images, texts)
    for one, image, text in zip(together, images, texts, strict=True):
        alone = model.predict([image], [text])[0]
        assert one.affordance is not None
        assert alone.affordance is not None
        for name, point in one.affordance.keypoints():
            assert point.distance(getattr(alone.affordance, name)) < 1e-4


def test_points_of_an_answer_carry_confidences_in_the_unit_interval(model: HeatmapKeypointModel) -> None:
    prediction = model.predict([picture()], [WORDS[0]])[0]
    assert prediction.affordance is not None
    assert set(prediction.confidence) == {name for name, _ in prediction.affordance.keypoints()}
    assert all(0 <= value <= 1 for value in prediction.confidence.values())


def test_nothing_asked_gives_nothing(model: HeatmapKeypointModel) -> None:
    assert model.predict([], []) == []


def test_when_images_and_texts_differ_in_number_expect_refusal(model: HeatmapKeypointModel) -> None:
    with pytest.raises(ValueError, match="1 images but 2 instructions"):
        model.predict([picture()], ["a", "b"])


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)]
)
def test_when_an_image_has_a_wrong_shape_or_type_expect_refusal(
    model: HeatmapKeypointModel, image: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        model.predict([image], ["go"])


def test_when_the_network_gives_nan_expect_an_invalid_answer(model: HeatmapKeypointModel) -> None:
    torch.manual_seed(0)
    broken = HeatmapKeypointModel(model.config).eval()
    with torch.no_grad():
        broken.scalars.bias.fill_(math.nan)
    prediction = broken.predict([picture()], ["go"])[0]
    assert not prediction.valid
    assert "finite" in prediction.error


# ---- numbers and affordances -------------------------------------------------------------------------------

fraction = st.floats(0.0, 0.998)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.one_of(st.none(), st.tuples(fraction, fraction)), min_size=5, max_size=5),
    yaw=st.one_of(st.none(), st.floats(-1.57, 1.57)),
    height=st.one_of(st.none(), st.floats(-0.4, 0.4)),
    size=st.tuples(st.integers(8, 60), st.integers(8, 60)),
)
def test_encode_then_decode_gives_the_affordance_back(
    points: list[tuple[float, float] | None],
    yaw: float | None,
    height: float | None,
    size: tuple[int, int],
) -> None:
    named = {n: None if p is None else Keypoint(*p) for n, p in zip(KEYPOINT_NAMES, points, strict=True)}
    truth = replace(Affordance(grasp_yaw=yaw, pre_height=height), **named)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    batch = encode([LabelledImage("a", image, "go", truth, Provenance("photo", "a"))], 32)
    found = decode(batch.points[0], batch.values[0], batch.presence[0] > 0, *size)
    assert [name for name, _ in found.keypoints()] == [name for name, _ in truth.keypoints()]
    for name, point in truth.keypoints():
        assert point.distance(getattr(found, name)) < 1e-6
    assert (found.grasp_yaw is None) == (yaw is None)
    if yaw is not None and found.grasp_yaw is not None:
        assert abs(math.sin(found.grasp_yaw - yaw)) < 1e-3
    assert found.pre_height == (None if height is None else pytest.approx(height, abs=1e-6))


@given(angle=st.floats(-10, 10))
def test_half_turn_gives_the_same_line_in_its_range(angle: float) -> None:
    turned = float(half_turn(torch.tensor(angle, dtype=torch.float64)))
    assert -math.pi / 2 < turned <= math.pi / 2 + 1e-9
    assert abs(math.sin(turned - angle)) < 1e-9


def test_the_axis_survives_its_double_angle_form() -> None:
    angles = torch.linspace(-1.57, 1.57, 50)
    values = with_axis(torch.zeros(50, VALUES), angles)
    torch.testing.assert_close(axis_angle(values), angles, atol=1e-5, rtol=0)


def test_select_and_concatenate_keep_rows_whole() -> None:
    batch = encode([stick(i) for i in range(4)], 32)
    again = concatenate([batch.select(torch.tensor([2])), batch.select(torch.tensor([0, 1]))])
    assert torch.equal(again.points, batch.points[[2, 0, 1]])
    assert len(again) == 3


# ---- losses ------------------------------------------------------------------------------------------------


def test_a_perfect_heat_map_has_no_loss_and_absent_points_none_at_all() -> None:
    points = torch.tensor([[[0.3, 0.6], [0.5, 0.5]]])
    perfect = gaussians(points, 16, 16).clamp(min=1e-20).log()
    both, one = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert float(heatmap_loss(perfect, points, both)) == pytest.approx(0.0, abs=1e-4)
    wrong = perfect.clone()
    wrong[:, 1] = 0
    assert float(heatmap_loss(wrong, points, one)) == pytest.approx(0.0, abs=1e-4)
    assert float(heatmap_loss(wrong, points, both)) > 0.5


def test_absent_scalars_have_no_gradient() -> None:
    values = torch.ones(1, VALUES, requires_grad=True)
    presence = torch.zeros(1, PRESENCES)
    presence[0, POINTS] = 1  # the first scalar alone
    values_loss(values, torch.zeros(1, VALUES), presence).backward()
    assert values.grad is not None
    assert values.grad[0, 0] != 0
    assert torch.count_nonzero(values.grad[0, 1:]) == 0


def test_every_trainable_parameter_gets_a_gradient(model: HeatmapKeypointModel) -> None:
    batch, model = encode([stick(0), stick(1)], 64), deepcopy(model)
    torch.nn.init.normal_(model.second.last.weight, std=0.1)  # zero at first: what is before it waits a step
    affordance_loss(model(batch.images, model.token_ids(WORDS)), batch).total.backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }
    assert not silent


# ---- text --------------------------------------------------------------------------------------------------


def test_the_instruction_changes_the_answer(model: HeatmapKeypointModel) -> None:
    first, second = (model.predict([picture()], [text])[0].affordance for text in WORDS)
    assert first != second


def test_unseen_words_split_into_pieces_and_never_into_unknown() -> None:
    tokenizer = build_tokenizer(make_vocabulary(WORDS))
    assert tokenizer.encode("SWEEP").tokens == ["sweep"]
    pieces = tokenizer.encode("trowel zyx9, Bürste").tokens
    assert UNKNOWN not in pieces
    assert PAD not in pieces


def test_the_same_corpus_gives_the_same_vocabulary() -> None:
    assert make_vocabulary(WORDS) == make_vocabulary(WORDS)
    assert make_vocabulary(WORDS)[0] == PAD


@pytest.mark.parametrize("text", ["", "   ", "\n", "你好", "sweep " * 500])
def test_odd_instructions_get_an_answer(model: HeatmapKeypointModel, text: str) -> None:
    assert model.predict([picture()], [text])[0].valid


# ---- backbone ----------------------------------------------------------------------------------------------


def test_backbone_has_the_promised_strides_and_frozen_layers() -> None:
    backbone = Backbone()
    features = backbone(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape) for f in features] == [
        (1, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(TAP_CHANNELS, (4, 8, 16), strict=True)
    ]
    frozen = {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"conv", "0", "1", "2", "3", "4"}


def test_folded_batch_norms_are_exact() -> None:
    """The folded stem equals convolution and batch norm one after the other."""
    torch.manual_seed(0)
    backbone, state = Backbone(), imagenet_like_state()
    backbone.load_imagenet(state)
    images = torch.rand(1, 3, 32, 32) * 255
    padded = torch.nn.functional.pad((images - 127) / 128, (0, 1, 0, 1))
    raw = torch.nn.functional.conv2d(padded, state["_conv_stem.weight"], stride=2)
    mean, variance, weight, bias = (
        state[f"_bn0.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    expected = torch.nn.functional.batch_norm(raw, mean, variance, weight, bias, eps=BATCH_NORM_EPSILON)
    torch.testing.assert_close(backbone.stem((images - 127) / 128), expected, atol=1e-5, rtol=1e-4)


def test_when_an_imagenet_weight_is_missing_expect_it_named() -> None:
    state = imagenet_like_state()
    del state["_blocks.7._bn1.weight"]
    with pytest.raises(KeyError, match=r"_blocks\.7\._bn1\.weight"):
        Backbone().load_imagenet(state)


def imagenet_like_state() -> dict[str, torch.Tensor]:
    """Random weights under the published names."""
    state: dict[str, torch.Tensor] = {}

    def add(kernel: str, norm: str, shape: tuple[int, ...]) -> None:
        state[f"{kernel}.weight"] = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
        for name in ("weight", "running_var"):
            state[f"{norm}.{name}"] = torch.rand(shape[0]) + 0.5
        for name in ("bias", "running_mean"):
            state[f"{norm}.{name}"] = torch.randn(shape[0])

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    inputs = 32
    for index, (outputs, kernel, _, expansion) in enumerate(BLOCKS):
        wide, prefix = inputs * expansion, f"_blocks.{index}."
        add(f"{prefix}_expand_conv", f"{prefix}_bn0", (wide, inputs, 1, 1))
        add(f"{prefix}_depthwise_conv", f"{prefix}_bn1", (wide, 1, kernel, kernel))
        add(f"{prefix}_project_conv", f"{prefix}_bn2", (outputs, wide, 1, 1))
        inputs = outputs
    return state
