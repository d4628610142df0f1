"""Grafts reach out from under an object, and touch nothing else."""

import cv2
import numpy as np
import pytest

from kalie.synthesis.grafts import GraftConfig, random_graft

ALWAYS = GraftConfig(share=1.0)


def bar() -> np.ndarray:
    """A turned bar of 80 px."""
    y, x = np.mgrid[:256, :256] - 128.0
    angle = np.radians(25)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (np.abs(along) < 40) & (np.abs(across) < 4)


def test_a_graft_hangs_together_with_its_object_and_leaves_it_visible() -> None:
    host, free, areas = bar(), np.zeros((256, 256), np.bool_), []
    for seed in range(30):
        graft = random_graft(ALWAYS, host, free, np.random.default_rng(seed))
        assert graft is not None
        assert not graft.cover[host].any()
        parts, _ = cv2.connectedComponents((host | (graft.cover > 0)).astype(np.uint8), connectivity=8)
        assert parts == 2  # the background and one thing
        areas.append(int((graft.cover > 0.5).sum()))
    assert max(areas) > 1000 > min(areas)


def test_grafts_keep_a_gap_to_what_is_taken() -> None:
    host = bar()
    taken = np.zeros((256, 256), np.bool_)
    taken[:, 150:] = True
    reach = []
    for seed in range(30):
        graft = random_graft(ALWAYS, host & ~taken, taken, np.random.default_rng(seed))
        if graft is not None:
            reach.append(np.nonzero(graft.cover > 0)[1].max())
    assert len(reach) > 10
    assert max(reach) < 150 - ALWAYS.gap_px + 1


def test_when_nothing_fits_expect_no_graft() -> None:
    host = bar()
    assert random_graft(ALWAYS, host, ~host, np.random.default_rng(0)) is None


def test_when_the_share_is_zero_expect_no_graft() -> None:
    assert (
        random_graft(GraftConfig(), bar(), np.zeros((256, 256), np.bool_), np.random.default_rng(0)) is None
    )


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"size": (0.5, 0.1)}, {"size": (0.0, 0.1)}])
def test_when_the_config_makes_no_sense_expect_error_naming_the_field(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GraftConfig(**wrong)
