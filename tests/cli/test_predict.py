"""`kalie predict` on bad input: an error that names the file, exit 1, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalie.cli.main import main


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
