"""A report that is one HTML file: text, tables, pictures, plots and videos, all embedded.

report = Report("Table sweeping", subtitle="50 photos to a working arm")
results = report.section("Results")
results.text("Success on object families that no training image shows.")
results.table(["arm", "success"], rows, roles=["floor", "", "", "ceiling"])
results.plot(interval_chart(intervals, "success"))
photos = report.section("Photos")
photos.pictures([Picture(image, "scene 3", keypoints={"grasp": (0.4, 0.6)})])
photos.pairs([(Picture(parent, "photo"), Picture(child, "synthetic"))])
photos.videos([Video(frames, "the full arm")])
report.write(run.path / "report" / "index.html")
"""

from __future__ import annotations

import base64
import importlib.resources
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import core
from .files import write_text
from .plots import figure_svg
from .video import encode_mp4

Image = NDArray[np.uint8]
Role = Literal["", "floor", "ceiling", "best"]
"""What a table row is: a floor or ceiling stands on every table of results; `best` is emphasised."""

KEYPOINT_COLOURS: dict[str, tuple[int, int, int]] = {
    "grasp": (230, 57, 70),
    "function": (255, 183, 3),
    "target": (42, 157, 88),
    "pre_contact": (33, 118, 255),
    "post_contact": (155, 93, 229),
}
"""RGB of each keypoint's mark in every picture."""


@dataclass(frozen=True)
class Picture:
    """An image with a caption and, marked on it, keypoints.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        caption: one or two lines.
        keypoints: by name, (x, y) as fractions of width and height.
    """

    image: Image
    caption: str = ""
    keypoints: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Video:
    """Frames with a caption.

    Attributes:
        frames: uint8 (H, W, 3) RGB, all of one size.
        caption: one or two lines.
        fps: frames a second.
    """

    frames: Sequence[Image]
    caption: str = ""
    fps: int = 20


class Section:
    """One titled part of a report; blocks appear in the order they are added."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.blocks: list[dict[str, Any]] = []

    def text(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self.blocks.append({"kind": "text", "text": text})

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        roles: Sequence[Role] = (),
        caption: str = "",
    ) -> None:
        """Add a table; numbers are right-aligned, floats get three digits.

        Args:
            columns: headings.
            rows: as many cells each as there are columns.
            roles: one per row, or none at all; floors and ceilings are coloured and tagged.
            caption: above the table.

        Raises:
            ValueError: a row or the roles do not fit.
        """
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"row {list(row)} has {len(row)} cells for {len(columns)} columns")
        if roles and len(roles) != len(rows):
            raise ValueError(f"{len(roles)} roles for {len(rows)} rows")
        numeric = {
            name
            for name, cells in zip(columns, zip(*rows, strict=True), strict=False)
            if all(isinstance(cell, int | float) for cell in cells)
        }
        shown = [
            {"cells": [_cell(cell) for cell in row], "role": role}
            for row, role in zip(rows, roles or [""] * len(rows), strict=True)
        ]
        block = {"columns": list(columns), "rows": shown, "numeric": numeric, "caption": caption}
        self.blocks.append({"kind": "table", **block})

    def pictures(self, pictures: Sequence[Picture], width: int = 180) -> None:
        """Add a grid of pictures at least `width` CSS pixels wide each."""
        embedded = [_embed_picture(picture) for picture in pictures]
        block = {"pictures": embedded, "width": width, "legend": _legend(pictures)}
        self.blocks.append({"kind": "pictures", **block})

    def pairs(
        self,
        pairs: Sequence[tuple[Picture, Picture]],
        names: tuple[str, str] = ("parent", "child"),
        width: int = 180,
    ) -> None:
        """Add pictures side by side, such as photos and what was synthesised from them."""
        embedded = [(_embed_picture(first), _embed_picture(second)) for first, second in pairs]
        legend = _legend(picture for pair in pairs for picture in pair)
        self.blocks.append(
            {"kind": "pairs", "pairs": embedded, "names": names, "width": width, "legend": legend}
        )

    def plot(self, figure: Figure, caption: str = "") -> None:
        """Add a matplotlib figure as SVG."""
        self.blocks.append({"kind": "plot", "svg": Markup(figure_svg(figure)), "caption": caption})  # noqa: S704  our own

    def videos(self, videos: Sequence[Video], width: int = 320) -> None:
        """Add H.264 videos."""
        embedded = [
            {
                "source": _data_uri("video/mp4", encode_mp4(video.frames, video.fps)),
                "caption": video.caption,
            }
            for video in videos
        ]
        self.blocks.append({"kind": "videos", "videos": embedded, "width": width})


class Report:
    """A report under construction."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self.sections: list[Section] = []

    def section(self, title: str) -> Section:
        """Add a section at the end."""
        self.sections.append(Section(title))
        return self.sections[-1]

    def html(self) -> str:
        """The whole page; text from outside is escaped."""
        source = importlib.resources.files(core).joinpath("templates/report.html.j2").read_text("utf-8")
        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        page = environment.from_string(source)
        return page.render(title=self.title, subtitle=self.subtitle, sections=self.sections)

    def write(self, path: Path) -> None:
        """Write the page atomically."""
        write_text(path, self.html())


def draw_keypoints(image: Image, keypoints: Mapping[str, tuple[float, float]]) -> Image:
    """A copy with a disc on each keypoint, and a line from pre-contact through target to post-contact.

    Args:
        image: uint8 (H, W, 3) RGB.
        keypoints: by name, (x, y) as fractions of width and height; unknown names are grey.
    """
    height, width = image.shape[:2]
    scale = max(1, 512 // max(height, width))
    canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    pixels = {
        name: (round(x * width * scale), round(y * height * scale)) for name, (x, y) in keypoints.items()
    }
    way = [pixels[name] for name in ("pre_contact", "target", "post_contact") if name in pixels]
    for start, end in itertools.pairwise(way):
        cv2.line(canvas, start, end, (255, 255, 255), scale, cv2.LINE_AA)
    radius = max(3, round(0.013 * max(canvas.shape)))
    for name, centre in pixels.items():
        colour = KEYPOINT_COLOURS.get(name, (128, 128, 128))
        cv2.circle(canvas, centre, radius + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, radius, colour, -1, cv2.LINE_AA)
    return np.asarray(canvas, dtype=np.uint8)


def _embed_picture(picture: Picture) -> dict[str, str]:
    """A picture's caption and its data URI, JPEG at a quality that hides no keypoint."""
    image = draw_keypoints(picture.image, picture.keypoints) if picture.keypoints else picture.image
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not ok:
        raise ValueError(f"picture {picture.caption!r} of shape {picture.image.shape} cannot be encoded")
    return {"source": _data_uri("image/jpeg", data.tobytes()), "caption": picture.caption}


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _cell(value: object) -> str:
    """A table cell's text: three decimals, fewer for large numbers, scientific for tiny ones."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if 0 < abs(value) < 0.001:
        return f"{value:.2e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _legend(pictures: Iterable[Picture]) -> list[tuple[str, str]]:
    """Names and CSS colours of the keypoints that any of the pictures shows."""
    shown = {name for picture in pictures for name in picture.keypoints}
    return [(name, f"rgb{colour}") for name, colour in KEYPOINT_COLOURS.items() if name in shown]
