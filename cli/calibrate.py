"""Calibrate a camera and its place at the robot by photos of a ChArUco board; or make the board to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from rich.console import Console

from ..core.files import atomic_path, write_json
from ..core.progress import progress_bar
from ..core.ranges import within
from ..core.report import Picture, Report
from ..core.runs import Run, RunConfig
from ..perception.calibration import (
    DistortionTerms,
    HandEyeResult,
    IntrinsicsResult,
    ViewResidual,
    calibrate_hand_eye,
    calibrate_intrinsics,
)
from ..perception.camera_files import (
    SessionView,
    load_intrinsics,
    read_image,
    read_session,
    save_intrinsics,
    save_transform,
)
from ..perception.charuco import BoardView, CalibrationError, CharucoConfig, board_pose, detect, draw_view
from ..perception.frame import FloatArray, ImageArray, Intrinsics
from ._verb import Verb

METRES_PER_INCH = 0.0254
# Kinds of file that keep the board's size, and what Pillow calls them.
PRINTABLE = {".png": "PNG", ".pdf": "PDF"}


@dataclass(frozen=True)
class CalibrateConfig:
    """Keys of `kalie calibrate`.

    Attributes:
        session: JSON file that lists images and hand poses; images lie beside it.
        draw: instead of calibrating, write the board to this file, .png or .pdf, to be printed at 100 %.
        dpi: dots an inch of that file.
        setup: eye_to_hand (camera fixed, board on the hand), eye_in_hand (camera on the hand, board fixed)
            or intrinsics (no robot).
        board: the printed board.
        intrinsics: JSON file of known intrinsics; null to calibrate them from the same images.
        distortion_terms: distortion coefficients to estimate (0, 4 or 5).
        run: where results go.
    """

    session: Path | None = None
    draw: Path | None = None
    dpi: int = 300
    setup: Literal["eye_to_hand", "eye_in_hand", "intrinsics"] = "eye_to_hand"
    board: CharucoConfig = field(default_factory=CharucoConfig)
    intrinsics: Path | None = None
    distortion_terms: DistortionTerms = 5
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        within(self, 72, 1200, "dpi")
        if (self.session is None) == (self.draw is None):
            raise ValueError("session: pass session=FILE to calibrate, or draw=FILE to make the board")
        if self.draw is not None and self.draw.suffix not in PRINTABLE:
            raise ValueError(f"draw={self.draw}: must end in {' or '.join(PRINTABLE)}")
        if self.setup == "intrinsics" and self.intrinsics is not None:
            raise ValueError("setup=intrinsics calibrates intrinsics; leave intrinsics=null")


def main(cfg: CalibrateConfig) -> None:
    """Draw the board, or calibrate."""
    if cfg.draw is not None:
        draw_board(cfg.board, cfg.draw, cfg.dpi)
    elif cfg.session is not None:
        calibrate(cfg, cfg.session)


def draw_board(board: CharucoConfig, path: Path, dpi: int) -> None:
    """Write the board as a picture that prints at its true size.

    Args:
        board: what is drawn.
        path: a file of a kind that `PRINTABLE` has.
        dpi: about so many dots an inch: a square gets a whole number of them.
    """
    pixels = round(board.square / METRES_PER_INCH * dpi)
    exact = pixels * METRES_PER_INCH / board.square
    with atomic_path(path) as temporary:
        picture = Image.fromarray(board.image(pixels))
        picture.save(temporary, PRINTABLE[path.suffix], dpi=(exact, exact), resolution=exact)
    width, height = (1000 * count * board.square for count in (board.columns, board.rows))
    Console().print(
        f"{path}: {board.columns} x {board.rows} squares of {1000 * board.square:g} mm, "
        f"{width:g} x {height:g} mm in all, {board.dictionary}. Print it at 100 % and measure a square."
    )


def calibrate(cfg: CalibrateConfig, path: Path) -> None:
    """Write intrinsics.json, extrinsics.json and the report of a session into the run directory."""
    # Inputs are read before a run directory is made: a wrong file leaves nothing behind.
    session = read_session(path)
    hands = [] if cfg.setup == "intrinsics" else _hand_poses(path, session)
    known = None if cfg.intrinsics is None else load_intrinsics(cfg.intrinsics)
    images, views = _look(session, cfg.board)
    with Run.open("calibrate", cfg.run, cfg) as run:
        report = Report("Camera calibration", subtitle=f"{len(views)} views, {cfg.setup.replace('_', ' ')}")
        if known is None:
            lens = calibrate_intrinsics(views, cfg.distortion_terms)
            known = lens.intrinsics
            _report_lens(report, lens)
            run.add_row("intrinsics_rms_pixels", lens.rms, n=len(views))
        save_intrinsics(run.path / "intrinsics.json", known)
        poses = [board_pose(view, known) for view in views]
        if cfg.setup != "intrinsics":
            place = calibrate_hand_eye(views, hands, known, cfg.setup)
            poses = place.camera_from_board(hands)
            _write_place(run.path, place)
            _report_place(report, place)
            run.add_row("hand_eye_rms_pixels", place.rms, n=len(views))
            worst = max(residual.metres for residual in place.residuals)
            run.add_row("hand_eye_worst_view_metres", worst, n=len(views))
        _report_pictures(report, images, views, known, poses)
        report.write(run.path / "report" / "index.html")


def _hand_poses(path: Path, session: Sequence[SessionView]) -> list[FloatArray]:
    for index, view in enumerate(session):
        if view.base_from_hand is None:
            raise CalibrationError(f"{path}: views[{index}].base_from_hand: missing; hand-eye needs it")
    return [np.asarray(view.base_from_hand, dtype=np.float64) for view in session]


def _look(session: Sequence[SessionView], board: CharucoConfig) -> tuple[list[ImageArray], list[BoardView]]:
    """Every image and the board in it."""
    images, views = [], []
    with progress_bar("finding the board") as progress:
        for view in session:
            images.append(read_image(view.image))
            views.append(detect(images[-1], board, str(view.image)))
            progress(len(views), len(session))
    return images, views


def _write_place(folder: Path, place: HandEyeResult) -> None:
    save_transform(folder / "extrinsics.json", place.parent_from_camera_name, place.parent_from_camera)
    residuals = [vars(residual) for residual in place.residuals]
    write_json(folder / "residuals.json", {"rms_pixels": place.rms, "views": residuals})


def _report_lens(report: Report, lens: IntrinsicsResult) -> None:
    section = report.section("Intrinsics")
    found = lens.intrinsics
    section.text(
        f"Reprojection error {lens.rms:.3f} px (root mean square). The focal lengths are known to "
        f"±{lens.focal_deviation[0]:.2f} and ±{lens.focal_deviation[1]:.2f} px (one standard deviation)."
    )
    rows = [("fx", found.fx), ("fy", found.fy), ("cx", found.cx), ("cy", found.cy)]
    names = ("k1", "k2", "p1", "p2", "k3")
    rows += list(zip(names, found.distortion, strict=False))
    section.table(["parameter", "value"], rows)
    section.table(["view", "error (px)"], [(Path(r.name).name, r.pixels) for r in lens.residuals])


def _report_place(report: Report, place: HandEyeResult) -> None:
    section = report.section("Where the camera is")
    section.text(
        f"Reprojection error {place.rms:.3f} px (root mean square). A view that stands out below has a wrong "
        "hand pose, a moved board or a blurred image."
    )
    section.table(
        ["x", "y", "z", "translation (m)"],
        [tuple(map(float, row)) for row in place.parent_from_camera[:3]],
        caption=place.parent_from_camera_name,
    )
    section.table(["view", "error (px)", "distance (mm)", "turn (degrees)"], [*map(_cells, place.residuals)])


def _cells(residual: ViewResidual) -> tuple[str, float, float, float]:
    millimetres, degrees = residual.metres * 1000, float(np.degrees(residual.radians))
    return Path(residual.name).name, residual.pixels, millimetres, degrees


def _report_pictures(
    report: Report,
    images: Sequence[ImageArray],
    views: Sequence[BoardView],
    intrinsics: Intrinsics,
    poses: Sequence[FloatArray],
) -> None:
    section = report.section("Views")
    section.text("Green: corners seen. Red: where the calibration puts them. Axes: the board's x, y, z.")
    pictures = [
        Picture(draw_view(image, view, intrinsics, pose), Path(view.name).name)
        for image, view, pose in zip(images, views, poses, strict=True)
    ]
    section.pictures(pictures, width=320)


VERB = Verb(
    CalibrateConfig,
    main,
    examples=(
        "kalie calibrate draw=board.pdf",
        "kalie calibrate session=photos/session.json setup=intrinsics",
        "kalie calibrate session=photos/session.json board.columns=9 board.rows=14 board.square=0.02",
        "kalie calibrate session=wrist/session.json setup=eye_in_hand intrinsics=camera/intrinsics.json",
    ),
)
