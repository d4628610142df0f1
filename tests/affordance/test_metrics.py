from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.metrics import WORST, errors, labelled_objects, point_errors, predict_all, summarise
from kalie.affordance.model import Prediction
from kalie.affordance.schema import Affordance, Keypoint

TRUTH = Affordance(grasp=Keypoint(0.5, 0.5), target=Keypoint(0.2, 0.2))


def answer(grasp: tuple[float, float] | None, target: tuple[float, float] | None) -> Prediction:
    return Prediction(
        Affordance(
            grasp=None if grasp is None else Keypoint(*grasp),
            target=None if target is None else Keypoint(*target),
        )
    )


def test_errors_are_distances_in_fractions_of_the_image() -> None:
    found = errors([answer((0.53, 0.54), (0.2, 0.2))], [TRUTH])
    np.testing.assert_allclose(found[0, [0, 2]], [0.05, 0.0], atol=1e-12)
    assert np.isnan(found[0, [1, 3, 4]]).all()


def test_when_an_answer_is_invalid_expect_it_counted_as_the_worst_error() -> None:
    invalid = Prediction(affordance=None, error="not JSON")
    found = errors([invalid], [TRUTH])
    assert found[0, 0] == found[0, 2] == WORST
    metrics = summarise([invalid, answer((0.5, 0.5), (0.2, 0.2))], [TRUTH, TRUTH])
    assert metrics.invalid == 0.5
    assert metrics.points["grasp"].pck[0.05] == 0.5
    assert metrics.all_within_10 == 0.5


def test_when_a_point_is_missing_expect_no_image_to_be_dropped() -> None:
    metrics = summarise([answer((0.5, 0.5), None)], [TRUTH])
    assert metrics.points["target"].count == 1
    assert metrics.points["target"].median == pytest.approx(1000 * WORST)
    assert metrics.presence == pytest.approx(4 / 5)


def test_pck_by_hand() -> None:
    offsets = (0.01, 0.03, 0.08, 0.2)
    answers = [answer((0.5 + offset, 0.5), (0.2, 0.2)) for offset in offsets]
    grasp = summarise(answers, [TRUTH] * 4).points["grasp"]
    assert grasp.pck == {0.02: 0.25, 0.05: 0.5, 0.10: 0.75}
    assert grasp.median == pytest.approx(55.0)
    assert grasp.mean == pytest.approx(80.0)


def test_a_keypoint_that_no_label_has_is_not_a_number() -> None:
    function = summarise([answer((0.5, 0.5), None)], [TRUTH]).points["function"]
    assert function.count == 0
    assert math.isnan(function.median)


def test_part_hits_use_the_callers_parts() -> None:
    answers = [answer((0.4, 0.5), (0.2, 0.2)), answer((0.6, 0.5), None)]
    left = np.arange(10)[None, :].repeat(10, axis=0) < 5
    metrics = summarise(answers, [TRUTH, TRUTH], lambda index, name: left)
    assert metrics.points["grasp"].on_part == 0.5
    assert metrics.points["target"].on_part == 0.5  # a missing point is not on its part
    assert math.isnan(summarise(answers, [TRUTH, TRUTH]).points["grasp"].on_part)


def test_the_right_part_is_the_object_under_the_label_and_free_points_have_none() -> None:
    masks = np.zeros((10, 20), np.uint8)
    masks[4:7, 8:14], masks[0:4, 0:8] = 3, 1
    label = Affordance(grasp=Keypoint(0.5, 0.5), target=Keypoint(0.2, 0.2), pre_contact=Keypoint(0.9, 0.9))
    photo = LabelledImage("a", np.zeros((10, 20, 3), np.uint8), "go", label, Provenance("photo", "a"), masks)
    bare = replace(photo, id="b", masks=None)
    answers = [answer((0.65, 0.45), (0.5, 0.5))] * 2 + [Prediction(None, error="not JSON")]
    samples = [photo, bare, photo]
    points = summarise(answers, [s.affordance for s in samples], labelled_objects(samples)).points
    assert (points["grasp"].on_part, points["grasp"].part_count) == (0.5, 2)  # no answer is a miss
    assert (points["target"].on_part, points["target"].part_count) == (0.0, 2)  # on an object, not on its own
    assert points["pre_contact"].part_count == 0
    assert math.isnan(points["pre_contact"].on_part)


def test_when_answers_and_labels_differ_in_number_expect_refusal() -> None:
    with pytest.raises(ValueError, match="longer"):
        errors([answer(None, None)], [TRUTH, TRUTH])


class Echo:
    """Answers with the mean colour of the image, and remembers how it was asked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, images: Sequence[np.ndarray], instructions: Sequence[str]) -> list[Prediction]:
        self.sizes.append(len(images))
        return [answer((image[0, 0, 0] / 256, 0.5), (0.2, 0.2)) for image in images]


def test_models_are_asked_in_chunks_and_answers_keep_their_order() -> None:
    samples = [
        LabelledImage(
            f"a{i}", np.full((4, 4, 3), 10 * i, np.uint8), "go", TRUTH, Provenance("photo", f"a{i}")
        )
        for i in range(7)
    ]
    model = Echo()
    answers = predict_all(model, samples, chunk=3)
    assert model.sizes == [3, 3, 1]
    assert [round(a.affordance.grasp.x * 256) for a in answers if a.affordance and a.affordance.grasp] == [
        10 * i for i in range(7)
    ]
    assert point_errors(model, samples).shape == (7, 5)
