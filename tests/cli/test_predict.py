"""`kalie predict`: an answer printed and drawn; on bad input an error that names the file, and no picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kalie.affordance.schema import Affordance
from kalie.cli.main import main
from kalie.cli.predict import write_picture


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_when_the_image_is_unreadable_expect_its_name_and_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    image, picture = tmp_path / "table.png", tmp_path / "prediction.png"
    if content is not None:
        image.write_bytes(content)
    assert main(["predict", f"image={image}", "instruction=sweep", f"picture={picture}"]) == 1
    streams = capsys.readouterr()
    assert f"{image}: not a readable image" in streams.err
    assert "Traceback" not in streams.err
    assert not picture.exists()


def test_when_the_picture_s_kind_is_unknown_expect_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("prediction.xyz", "prediction"):
        assert main(["predict", "image=table.png", "instruction=sweep", f"picture={tmp_path / name}"]) == 2
        assert f"{tmp_path / name}: unknown kind of picture" in capsys.readouterr().err


def test_when_the_picture_cannot_be_written_expect_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/a\.png: cannot be written"):
        write_picture(tmp_path / "file" / "a.png", np.zeros((8, 8, 3), np.uint8))


def test_an_answer_is_printed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, picture = tmp_path / "table.png", tmp_path / "out" / "prediction.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(image)
    words = "instruction=sweep it off the left edge"
    assert main(["predict", f"image={image}", words, f"picture={picture}"]) == 0
    answer = json.loads(capsys.readouterr().out)
    affordance = Affordance.from_json(answer["affordance"])
    names = {name for name, _ in affordance.keypoints()}
    assert names
    assert set(answer["confidence"]) == names
    with Image.open(picture) as drawn:
        assert drawn.size[0] / drawn.size[1] == pytest.approx(80 / 60)
