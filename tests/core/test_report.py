"""Reports: one file that needs no other, with what was put in and nothing that came in as markup."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from kalie.core.plots import interval_chart, line_chart
from kalie.core.report import KEYPOINT_COLOURS, Picture, Report, Video, draw_keypoints
from kalie.core.stats import wilson
from kalie.core.video import encode_mp4

GREY = np.full((64, 48, 3), 128, dtype=np.uint8)
KEYPOINTS = {"grasp": (0.25, 0.5), "target": (0.75, 0.5)}


def full_report() -> str:
    report = Report("A <b>title</b>", "sub & title")
    section = report.section("Results")
    section.text("5 < 6 <script>alert(1)</script>")
    section.table(
        ["arm", "success", "n"],
        [["random", 0.0, 20], ["full", 0.9123, 20], ["<img src=x>", 1.0, 20]],
        roles=["floor", "best", "ceiling"],
        caption="held out",
    )
    section.plot(interval_chart({"full": wilson(18, 20), "oracle": wilson(20, 20)}, "success"), "bars")
    section.plot(line_chart({"a": ([0, 1], [1.0, 0.5]), "b": ([0, 1], [2.0, 0.1])}, "step", "loss"))
    other = report.section("Pictures")
    other.pictures([Picture(GREY, "one", KEYPOINTS)])
    other.pairs([(Picture(GREY, "photo 3"), Picture(GREY, "child"))], names=("photo", "synthetic"))
    other.videos([Video([GREY] * 5, "episode")])
    return report.html()


def test_page_holds_everything_and_refers_to_nothing() -> None:
    html = full_report()
    for text in ("held out", "0.912", "photo 3", "synthetic", "episode", 'id="s2"', "success"):
        assert text in html
    links = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "@import" not in html
    assert "url(http" not in html


def test_text_from_outside_is_escaped() -> None:
    html = full_report()
    assert "<script>" not in html
    assert "<img src=x>" not in html
    assert "A &lt;b&gt;title&lt;/b&gt;" in html


def test_floors_and_ceilings_are_tagged() -> None:
    html = full_report()
    assert re.search(r'<tr class="floor"><td>random<span class="tag">floor</span>', html)
    assert re.search(r'<tr class="ceiling">.*<span class="tag">ceiling</span>', html)
    assert '<tr class="best"><td>full</td><td class="number">0.912</td>' in html


def test_page_is_the_same_for_the_same_content() -> None:
    assert full_report() == full_report()


def test_write_makes_the_folder(tmp_path: Path) -> None:
    Report("empty").write(tmp_path / "report" / "index.html")
    assert (tmp_path / "report" / "index.html").read_text().startswith("<!doctype html>")


def test_tables_refuse_rows_and_roles_that_do_not_fit() -> None:
    section = Report("x").section("y")
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        section.table(["a", "b"], [["only one"]])
    with pytest.raises(ValueError, match="2 roles for 1 rows"):
        section.table(["a"], [["x"]], roles=["floor", "best"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.500"), (12.34, "12.3"), (123456.0, "123,456"), (1e-5, "1.00e-05"), (3, "3"), (None, "")],
)
def test_numbers_are_short(value: object, shown: str) -> None:
    report = Report("x")
    report.section("y").table(["v"], [[value]])
    assert f">{shown}</td>" in report.html()


def test_keypoints_are_drawn_where_they_are_and_the_image_is_untouched() -> None:
    before = GREY.copy()
    drawn = draw_keypoints(GREY, KEYPOINTS)
    scale = drawn.shape[0] // 64
    assert tuple(drawn[32 * scale, 12 * scale]) == KEYPOINT_COLOURS["grasp"]
    assert tuple(drawn[32 * scale, 36 * scale]) == KEYPOINT_COLOURS["target"]
    assert tuple(drawn[2, 2]) == (128, 128, 128)
    assert np.array_equal(GREY, before)


def test_embedded_picture_is_the_picture() -> None:
    report = Report("x")
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    report.section("y").pictures([Picture(red, "red")])
    data = re.search(r"data:image/jpeg;base64,([^\"]+)", report.html())
    assert data is not None
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    assert abs(decoded.astype(int) - red).max() < 10


def test_video_is_h264_with_all_frames_in_order() -> None:
    frames = [np.full((34, 47, 3), level, dtype=np.uint8) for level in range(40, 240, 20)]
    with av.open(io.BytesIO(encode_mp4(frames, fps=10)), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert [frame.shape for frame in decoded] == [(34, 46, 3)] * 10
    assert [round(float(frame.mean()), -1) for frame in decoded] == pytest.approx(range(40, 240, 20), abs=10)


def test_when_frames_are_missing_or_differ_expect_error() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        encode_mp4([])
    with pytest.raises(ValueError, match=r"frame 1 is \(64, 46, 3\)"):
        encode_mp4([GREY, GREY[:, :46]])
