"""`kalie synthesize`: from a data set of photos to a data set of photos and children, resumable."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint
from kalie.cli.main import main
from kalie.cli.synthesize import VERB
from kalie.synthesis.binding import TASK_BINDINGS
from kalie.synthesis.compose import ComposeConfig, for_task

from ..synthesis.chat_server import chat_server, says


def photo(index: int) -> LabelledImage:
    """A red bar and a blue disc on a grey table."""
    rgb, masks = np.full((96, 96, 3), 150, np.uint8), np.zeros((96, 96), np.uint8)
    for image, bar, disc in ((rgb, (200, 30, 30), (30, 40, 190)), (masks, 1, 2)):
        cv2.rectangle(image, (16, 40 + index), (44, 48 + index), bar, -1)
        cv2.circle(image, (68, 40), 7, disc, -1)
    affordance = Affordance(
        grasp=Keypoint(0.25, (44.5 + index) / 96), target=Keypoint(0.71, 0.42), pre_contact=Keypoint(0.6, 0.6)
    )
    name = f"shot{index}"
    return LabelledImage(name, rgb, "push the disc", affordance, Provenance("photo", name), masks)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    AffordanceDataset((photo(0), photo(1))).save(tmp_path / "photos")
    return tmp_path / "photos"


def command(photos: Path, *more: str) -> int:
    outputs = f"run.outputs={photos.parent / 'out'}"
    return main(["synthesize", f"photos={photos}", outputs, "run.name=one", "count=4", *more])


def test_a_run_leaves_a_data_set_a_working_folder_and_a_summary(photos: Path) -> None:
    assert command(photos) == 0
    run = photos.parent / "out" / "synthesize" / "one"
    data = AffordanceDataset.load(run / "dataset")
    assert [item.provenance.source for item in data] == ["photo"] * 2 + ["synthetic"] * 4
    assert len(list((run / "images").glob("shot*.json"))) == 4
    rows = json.loads((run / "summary.json").read_text())["rows"]
    assert {"metric": "images", "value": 4}.items() <= rows[0].items()


def test_an_interrupted_run_resumes_with_the_images_it_has(photos: Path) -> None:
    assert command(photos) == 0
    run = photos.parent / "out" / "synthesize" / "one"
    before = {path: path.stat().st_mtime_ns for path in (run / "images").glob("shot*.png")}
    for path in (run / "dataset").iterdir():
        path.unlink()
    assert command(photos, "run.resume=true") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(AffordanceDataset.load(run / "dataset")) == 6


def test_a_run_cut_off_while_its_data_set_is_written_resumes_to_the_whole(photos: Path) -> None:
    assert command(photos) == 0
    dataset = photos.parent / "out" / "synthesize" / "one" / "dataset"
    whole = {path.name: path.read_bytes() for path in dataset.iterdir()}
    assert command(photos, "run.resume=true") == 0  # a finished one stays as it is
    assert {path.name: path.read_bytes() for path in dataset.iterdir()} == whole
    (dataset / "manifest.json").write_text('{"version": 1, "complete": false, "shards": {}}')
    assert command(photos, "run.resume=true") == 0
    assert {path.name: path.read_bytes() for path in dataset.iterdir()} == whole


def test_photos_that_were_cut_off_are_used_on_request(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = photos / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    assert command(photos) == 1
    assert "1 finished shards (allow_partial=true)" in " ".join(capsys.readouterr().err.split())
    assert command(photos, "allow_partial=true") == 0


def test_task_decides_the_binding_and_groups_choose_helpers() -> None:
    schema = VERB.schema("synthesize")
    config = schema.compose(["photos=x", "repainter=diffusion", "repainter.steps=7", "judge=chat",
                             "judge.url=http://localhost/v1", "judge.model=m"])  # fmt: skip
    assert config.repainter.steps == 7
    assert config.judge.model == "m"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("task=swep", "sweep"),
        ("repainter=painter", "repainter"),
        ("count=0", "count"),
        ("seed=-1", "seed"),
        ("compose.transform.scale=[0,1]", "scale"),
        ("judge=chat", "judge.url"),
    ],
)
def test_when_a_key_is_wrong_expect_its_name_and_no_run(
    photos: Path, capsys: pytest.CaptureFixture[str], override: str, named: str
) -> None:
    assert command(photos, override) == 2
    assert named in capsys.readouterr().err
    assert not (photos.parent / "out").exists()


@pytest.mark.parametrize("task", list(TASK_BINDINGS))
def test_a_task_changes_compose_as_it_always_did(task: str) -> None:
    config = VERB.schema("synthesize").compose(["photos=x", f"task={task}", "compose.mode=geometry_only"])
    assert config.compose == for_task(ComposeConfig(mode="geometry_only"), task)
    assert VERB.schema("synthesize").compose(["photos=x"]).compose == ComposeConfig()


@pytest.mark.parametrize(
    ("task", "override", "value"),
    [
        ("drawer", "compose.cut.share=0.0", 0.0),  # The default without a task: still the user's word.
        ("drawer", "compose.cut.share=0.2", 0.2),
        ("drawer", "compose.cut.margin=0.3", 0.3),
        ("towel", "compose.graft.share=0", 0.0),
        ("pour", "compose.binding.pre_contact=auto", "auto"),
        ("sweep", "compose.distractors.size=[0.012,0.06]", (0.012, 0.06)),
    ],
)
def test_a_key_that_the_user_gives_wins_over_the_task_s(task: str, override: str, value: object) -> None:
    given = VERB.schema("synthesize").compose(["photos=x", override, f"task={task}"]).compose
    _, part, key = override.partition("=")[0].split(".")
    assert getattr(getattr(given, part), key) == value
    usual = for_task(ComposeConfig(), task)
    assert replace(given, **{part: getattr(usual, part)}) == usual
    left = replace(getattr(given, part), **{key: getattr(getattr(usual, part), key)})
    assert left == getattr(usual, part)


def test_descriptions_of_a_chat_model_are_kept_and_resumed_with(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = photos.parent / "out" / "synthesize" / "one"
    with chat_server(says("teal plastic"), (400, "gone"), says("red foam"), says("other")) as (chat, asked):
        words = ["describer=chat", f"describer.url={chat.url}", "describer.model=tiny"]
        assert command(photos, *words) == 1
        assert "chat/completions: HTTP 400" in " ".join(capsys.readouterr().err.split())
        assert json.loads((run / "descriptions" / "shot0.json").read_text()) == ["teal plastic"]
        assert command(photos, *words, "run.resume=true") == 0
        made = {path.name: path.read_bytes() for path in (run / "images").iterdir()}
        assert command(photos, *words, "run.resume=true") == 0
    assert len(asked) == 3
    assert {path.name: path.read_bytes() for path in (run / "images").iterdir()} == made
    looks = {
        thing["look"]
        for path in (run / "images").glob("shot*.json")
        for thing in json.loads(path.read_text())["provenance"]["details"]["objects"].values()
    }
    assert looks == {"teal plastic", "red foam"}


def test_the_report_shows_children_beside_photos_and_counts_draws(photos: Path) -> None:
    assert command(photos, "compose.checks.edge_agreement=0.9", "draws=400") == 0
    run = photos.parent / "out" / "synthesize" / "one"
    page = (run / "report" / "index.html").read_text()
    assert page.count("data:image/jpeg") == 2 * 4
    rejected = [
        row for row in json.loads((run / "summary.json").read_text())["rows"] if "rejected" in row["metric"]
    ]
    assert rejected
    for row in rejected:
        assert f"rejected: {row['reason']}" in page
