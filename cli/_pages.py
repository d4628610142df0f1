"""What several verbs show alike: labels, answers, children beside photos, training curves, printed tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ..affordance.labels import LabelledImage
from ..affordance.model import Prediction
from ..affordance.schema import Affordance
from ..core.loggers import Series, read_metrics
from ..core.plots import line_chart
from ..core.report import Picture, Section
from ..core.runs import Run
from ..core.stats import Interval

SHOWN = 12
# Points of a curve; each is the mean of the steps about it.
_POINTS = 200
_LONGEST = 200
Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int = SHOWN) -> list[Item]:
    """At most so many of the items, evenly spread, the first and the last among them."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)]


def labelled(image: LabelledImage, caption: str = "") -> Picture:
    """An image with its keypoints."""
    return Picture(image.rgb, caption, _points(image.affordance))


def answered(rgb: NDArray[np.uint8], prediction: Prediction, caption: str = "") -> Picture:
    """An image (H, W, 3) with the keypoints of an answer, or why there are none."""
    if prediction.affordance is None:
        said = f"no answer: {prediction.error} {prediction.text[:_LONGEST]}".strip()
        return Picture(rgb, f"{caption} ({said})" if caption else said)
    return Picture(rgb, caption, _points(prediction.affordance))


def _points(affordance: Affordance) -> dict[str, tuple[float, float]]:
    return {str(name): (point.x, point.y) for name, point in affordance.keypoints()}


def show_children(
    section: Section, photos: Sequence[LabelledImage], children: Sequence[LabelledImage]
) -> None:
    """Some synthetic images beside the photos that they were made from: child k from photo k mod N."""
    pairs = spread(list(zip(itertools.cycle(photos), children, strict=False)))
    section.text("Synthetic images beside the photos they were made from.")
    section.pairs([(labelled(photo), labelled(child)) for photo, child in pairs])


def show_answers(
    section: Section, samples: Sequence[LabelledImage], predictions: Sequence[Prediction]
) -> None:
    """Some labels beside a model's answers."""
    pairs = [
        (labelled(sample, sample.instruction), answered(sample.rgb, prediction, sample.id))
        for sample, prediction in spread(list(zip(samples, predictions, strict=True)))
    ]
    section.pairs(pairs, names=("label", "answer"))


def show_curves(section: Section, path: Path) -> None:
    """The losses in a `metrics.jsonl`, and what was measured on validation images."""
    series = {name: thinned(curve) for name, curve in read_metrics(path).items()}
    validation = {name: curve for name, curve in series.items() if name.startswith("validation")}
    losses = {name: curve for name, curve in series.items() if name not in (*validation, "learning_rate")}
    for curves, label in ((losses, "loss"), (validation, "on validation images")):
        if curves:
            section.plot(line_chart(curves, "step", label))


def thinned(curve: Series) -> Series:
    """Means of neighbouring points, so that a curve is smooth and the page small."""
    count = min(_POINTS, len(curve[0]))
    steps, values = ([float(part.mean()) for part in np.array_split(np.array(side), count)] for side in curve)
    return steps, values


def print_figures(
    labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Interval]], run: Run, title: str | None = None
) -> None:
    """Print figures with their intervals as a table, and where the run's report lies.

    Args:
        labels: headings of what each figure is about.
        rows: as many words each as there are labels, and the figure.
        run: whose report it is.
        title: of the table.
    """
    table = Table(*labels, "value", "95 % interval", "n", title=title)
    for words, (value, low, high, n) in rows:
        table.add_row(*words, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]", str(n))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"report: {run.path / 'report' / 'index.html'}", markup=False, soft_wrap=True)
