from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kalie.affordance.encoding import FUNCTION, GRASP, POINTS, TARGET
from kalie.affordance.loss import gaussians
from kalie.affordance.places import RELATIVE_CHANNELS, RELATIVE_FREQUENCIES, read_points, relative_places
from kalie.affordance.schema import Keypoint

CELLS = 32
# Of the signed waves of one frequency, the rows that tell of a point along the image's x and y.
SIGNED = 2 * (POINTS + 2)


def maps_at(points: Tensor) -> Tensor:
    """Heat-map logits (1, POINTS, CELLS, CELLS) that point at (POINTS, 2)."""
    return gaussians(points[None], CELLS, CELLS).clamp(min=1e-12).log()


def phases(points: Tensor, closing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Signed phases (SIGNED, H, W) and the cosines without a sign (2, H, W), at the lowest frequency."""
    double = torch.tensor([math.cos(2 * closing), math.sin(2 * closing)])
    axes = double[None, :, None, None].expand(1, 2, CELLS, CELLS)
    waves = relative_places(maps_at(points), axes)
    assert waves.shape == (1, RELATIVE_CHANNELS, CELLS, CELLS)
    assert RELATIVE_FREQUENCIES[0] == 1
    sines, cosines = waves[0, :SIGNED], waves[0, SIGNED : 2 * SIGNED]
    return torch.atan2(sines, cosines) / math.pi, waves[0, 2 * SIGNED : 2 * SIGNED + 2]


def some_points(seed: int = 0) -> Tensor:
    return 0.3 + 0.4 * torch.rand((POINTS, 2), generator=torch.Generator().manual_seed(seed))


# ---- as seen from points -----------------------------------------------------------------------------------


def test_every_cell_knows_its_offset_from_every_point() -> None:
    points = some_points()
    seen, _ = phases(points)
    column, row = 5, 20
    cell = torch.tensor([(column + 0.5) / CELLS, (row + 0.5) / CELLS])
    offsets = seen[: 2 * POINTS, row, column].reshape(POINTS, 2)
    assert torch.allclose(offsets, 2 * (cell - points), atol=0.01)


@pytest.mark.parametrize(("pair", "end"), [(0, FUNCTION), (1, TARGET)])
def test_cells_ahead_of_a_pair_lie_along_and_not_across(pair: int, end: int) -> None:
    points = some_points(1)
    way = points[end] - points[GRASP]
    cell = points[end] + 0.2 * way / way.norm()
    column, row = (cell * CELLS).long().tolist()
    seen, _ = phases(points)
    along, across = seen[2 * POINTS + 2 * pair : 2 * POINTS + 2 * pair + 2, row, column].tolist()
    assert along == pytest.approx(0.4, abs=2 * 2 / CELLS)
    assert abs(across) < 2 * 2 / CELLS


def test_relative_places_move_with_the_points() -> None:
    shift = torch.tensor([3.0 / CELLS, -2.0 / CELLS])
    here, _ = phases(some_points(2))
    there, _ = phases(some_points(2) + shift)
    assert torch.allclose(there[:, 8:20, 10:20], here[:, 10:22, 7:17], atol=0.01)


def test_the_closing_axis_has_no_sign() -> None:
    points = some_points(3)
    assert torch.allclose(phases(points, 0.4)[1], phases(points, 0.4 - math.pi)[1], atol=1e-4)
    assert not torch.allclose(phases(points, 0.4)[1], phases(points, 0.9)[1], atol=0.05)


def test_when_points_coincide_expect_finite_places() -> None:
    seen, unsigned = phases(torch.full((POINTS, 2), 0.5))
    assert bool(torch.isfinite(seen).all() and torch.isfinite(unsigned).all())


# ---- read-out ----------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(x=st.floats(0.1, 0.9), y=st.floats(0.1, 0.9))
def test_read_out_finds_a_gaussian_to_a_fifth_of_a_pixel(x: float, y: float) -> None:
    maps = gaussians(torch.tensor([[[x, y]]]), 32, 32).clamp(min=1e-12).log()
    points, confidence = read_points(maps)
    assert float((points - torch.tensor([x, y])).abs().max()) * 128 < 0.2
    assert float(confidence) > 0.95


def test_confidence_falls_when_there_are_two_peaks() -> None:
    maps = gaussians(torch.tensor([[[0.2, 0.2], [0.8, 0.8]]]), 32, 32)
    both = (0.6 * maps[:, :1] + 0.4 * maps[:, 1:]).clamp(min=1e-12).log()
    points, confidence = read_points(both)
    assert float((points[0, 0] - 0.2).abs().max()) < 0.01  # the higher one, not the middle
    assert 0.5 < float(confidence) < 0.7


@pytest.mark.parametrize("corner", [(0.001, 0.001), (0.999, 0.001), (0.999, 0.999)])
def test_read_out_stays_in_the_image_at_its_corners(corner: tuple[float, float]) -> None:
    points, _ = read_points(gaussians(torch.tensor([[corner]]), 16, 16).clamp(min=1e-12).log())
    Keypoint(*points[0, 0].tolist())  # raises outside
