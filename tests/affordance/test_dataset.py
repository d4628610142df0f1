"""Data sets survive kills, refuse damage, keep siblings together, and read back exactly."""

import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kalie.affordance.dataset import AffordanceDataset, DatasetError, DatasetWriter, read_image
from kalie.affordance.kalie_format import import_kalie
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint


def make_item(index: int, parent: str = "", source: str = "photo") -> LabelledImage:
    rng = np.random.default_rng(index)
    return LabelledImage(
        id=f"item-{index}",
        rgb=rng.integers(0, 256, (24, 32, 3), dtype=np.uint8),
        instruction=f"sweep number {index}",
        affordance=Affordance(grasp=Keypoint(0.1, 0.2), grasp_yaw=0.3),
        provenance=Provenance(source, parent or f"item-{index}", index, {"k": [1, 2]}),  # pyright: ignore[reportArgumentType]
        masks=rng.integers(0, 3, (24, 32), dtype=np.uint8) if index % 2 else None,
        group="brush/0",
    )


def _png(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def make_set(n: int) -> AffordanceDataset:
    return AffordanceDataset(tuple(make_item(i) for i in range(n)))


def test_save_and_load_are_exact(tmp_path: Path) -> None:
    original = make_set(5)
    original.save(tmp_path / "set")
    loaded = AffordanceDataset.load(tmp_path / "set")
    assert [i.id for i in loaded] == [i.id for i in original]
    for a, b in zip(original, loaded, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert (a.masks is None) == (b.masks is None)
        assert a.masks is None or b.masks is None or np.array_equal(a.masks, b.masks)
        assert (a.affordance, a.instruction, a.provenance, a.group) == (
            b.affordance,
            b.instruction,
            b.provenance,
            b.group,
        )


def test_datasets_library_reads_the_shards_with_images(tmp_path: Path) -> None:
    make_set(3).save(tmp_path / "set")
    files = [str(p) for p in sorted((tmp_path / "set").glob("*.parquet"))]
    table = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert table[0]["image"].size == (32, 24)
    assert np.array_equal(np.asarray(table[1]["image"]), make_item(1).rgb)


def test_split_keeps_siblings_of_one_photo_together() -> None:
    items = [make_item(i) for i in range(10)]
    children = [make_item(100 + i, parent=f"item-{i % 10}", source="synthetic") for i in range(40)]
    first, second = AffordanceDataset((*items, *children)).split(0.7, seed=3)
    parents = [{i.provenance.parent for i in part} for part in (first, second)]
    assert not parents[0] & parents[1]
    assert (len(parents[0]), len(first) + len(second)) == (7, 50)


def test_when_shard_is_damaged_expect_error_naming_the_file(tmp_path: Path) -> None:
    make_set(4).save(tmp_path / "set")
    shard = tmp_path / "set" / "part-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DatasetError, match=r"part-00000\.parquet: damaged"):
        AffordanceDataset.load(tmp_path / "set")
    shard.unlink()
    with pytest.raises(DatasetError, match="part-00000"):
        AffordanceDataset.load(tmp_path / "set")


def test_when_writer_is_killed_expect_finished_shards_and_a_clear_error(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_dataset import make_item
        from kalie.affordance.dataset import DatasetWriter
        writer = DatasetWriter(Path(sys.argv[1]), shard_size=2)
        writer.extend([make_item(i) for i in range(5)])
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "set"), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(DatasetError, match="cut off mid-write"):
        AffordanceDataset.load(tmp_path / "set")
    assert len(AffordanceDataset.load(tmp_path / "set", allow_partial=True)) == 4


def test_when_recording_is_killed_mid_write_expect_all_twenty_earlier_episodes(tmp_path: Path) -> None:
    """E9: the process kills itself while the 21st record is half on the disk."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_dataset import make_item
        from kalie.affordance.dataset import DatasetWriter
        writer = DatasetWriter(Path(sys.argv[1]), shard_size=1)
        writer.extend([make_item(i) for i in range(20)])
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        writer.extend([make_item(20)])
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "set"), str(Path(__file__).parent)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    with pytest.raises(DatasetError, match=r"cut off mid-write;.* its 20 finished shards"):
        AffordanceDataset.load(tmp_path / "set")
    kept = AffordanceDataset.load(tmp_path / "set", allow_partial=True)
    assert [item.id for item in kept] == [f"item-{i}" for i in range(20)]


def test_when_any_bit_of_a_shard_is_flipped_expect_the_file_named(tmp_path: Path) -> None:
    """E3."""
    make_set(2).save(tmp_path / "set")
    shard = tmp_path / "set" / "part-00000.parquet"
    sound, rng = shard.read_bytes(), np.random.default_rng(0)
    for bit in rng.integers(0, 8 * len(sound), 1000):
        data = bytearray(sound)
        data[bit // 8] ^= 1 << (bit % 8)
        shard.write_bytes(data)
        with pytest.raises(DatasetError, match=r"part-00000\.parquet: damaged"):
            AffordanceDataset.load(tmp_path / "set")


@pytest.mark.parametrize(
    "manifest",
    [
        "{",
        "{}",
        '{"version": 2}',
        "[]",
        '{"version": 1}',
        '{"version": 1, "complete": true}',
        '{"version": 1, "complete": true, "shards": []}',
    ],
)
def test_when_the_manifest_is_damaged_expect_the_file_named(tmp_path: Path, manifest: str) -> None:
    """E3: what a flipped bit in a key makes of it."""
    make_set(1).save(tmp_path / "set")
    (tmp_path / "set" / "manifest.json").write_text(manifest)
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        AffordanceDataset.load(tmp_path / "set")


def write_record(folder: Path, **changed: object) -> None:
    """A data set of one record, made by another program: its checksums fit."""
    make_set(1).save(folder)
    shard = folder / "part-00000.parquet"
    table = pq.read_table(shard)
    pq.write_table(pa.Table.from_pylist([{**table.to_pylist()[0], **changed}], table.schema), shard)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][shard.name] = hashlib.sha256(shard.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("affordance", '{"target": [1.0, 0.5]}', "record item-0: target: .*outside the image"),
        ("affordance", '{"target": [0.5, -0.01]}', "record item-0: target: .*outside the image"),
        ("affordance", '{"handle": [0.5, 0.5]}', "record item-0: unknown key 'handle'"),
        ("image", {"bytes": b"no picture", "path": None}, "record item-0: image cannot be decoded"),
        ("masks", {"bytes": _png((9, 9)), "path": None}, "record item-0: masks must be uint8"),
        ("affordance", "{", "record item-0: affordance is not valid JSON"),
        ("affordance", "[]", "record item-0: affordance must be a JSON object"),
        ("details", "{", "record item-0: details is not valid JSON"),
    ],
)
def test_when_a_record_made_elsewhere_is_wrong_expect_record_and_field_named(
    tmp_path: Path, field: str, value: object, named: str
) -> None:
    write_record(tmp_path / "set", **{field: value})
    with pytest.raises(DatasetError, match=named):
        AffordanceDataset.load(tmp_path / "set")


def test_when_record_is_bad_expect_error_naming_it_and_earlier_ones_kept(tmp_path: Path) -> None:
    good, bad = make_item(0), replace(make_item(1), rgb=np.zeros((4, 4), np.uint8))
    with (
        pytest.raises(DatasetError, match="record item-1: image"),
        DatasetWriter(tmp_path / "set", 1) as writer,
    ):
        writer.extend([good, bad])
    assert [i.id for i in AffordanceDataset.load(tmp_path / "set", allow_partial=True)] == ["item-0"]
    for item, message in [
        (replace(good, id="../x"), "plain file-name"),
        (replace(good, masks=np.zeros((2, 2), np.uint8)), "masks"),
    ]:
        with pytest.raises(DatasetError, match=message):
            AffordanceDataset((item,))
    with pytest.raises(DatasetError, match="twice"):
        AffordanceDataset((good, good))


def test_a_resumed_writer_goes_on_after_the_finished_shards(tmp_path: Path) -> None:
    def cut_off() -> None:
        with DatasetWriter(tmp_path / "set", 2) as writer:
            writer.extend([make_item(i) for i in range(3)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    with DatasetWriter(tmp_path / "set", 2, resume=True) as writer:
        assert [item.id for item in writer.kept] == ["item-0", "item-1"]
        with pytest.raises(DatasetError, match="item-1: the id occurs twice"):
            writer.extend([make_item(1)])
        writer.extend([make_item(2)])
    before = {path: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    with DatasetWriter(tmp_path / "set", 2, resume=True) as writer:
        assert len(writer.kept) == 3
    assert {path: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before
    assert [item.id for item in AffordanceDataset.load(tmp_path / "set")] == ["item-0", "item-1", "item-2"]


def test_when_directory_is_in_use_or_empty_expect_refusal(tmp_path: Path) -> None:
    make_set(1).save(tmp_path / "set")
    with pytest.raises(DatasetError, match="already holds"):
        make_set(1).save(tmp_path / "set")
    with pytest.raises(DatasetError, match="not found"):
        AffordanceDataset.load(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["../x.parquet", "/etc/passwd", "sub/x.parquet", "link.parquet"])
def test_when_manifest_names_a_file_outside_expect_refusal(tmp_path: Path, name: str) -> None:
    make_set(1).save(tmp_path / "set")
    (tmp_path / "x.parquet").write_bytes(b"")
    (tmp_path / "set" / "link.parquet").symlink_to(tmp_path / "x.parquet")
    manifest = tmp_path / "set" / "manifest.json"
    data = json.loads(manifest.read_text())
    data["shards"] = {name: hashlib.sha256(b"").hexdigest()}
    manifest.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match="leaves the data set"):
        AffordanceDataset.load(tmp_path / "set")


def test_when_image_is_unreadable_expect_error_naming_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match=r"x\.png"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_when_image_is_cut_off_anywhere_expect_error_naming_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo"
    Image.fromarray(make_item(0).rgb).save(path, format=kind)
    sound = path.read_bytes()
    for size in np.linspace(0, len(sound) * 0.9, 100).astype(int):
        path.write_bytes(sound[:size])
        with pytest.raises(DatasetError, match="photo: not a readable image"):
            read_image(path)


def test_when_a_chunk_of_an_image_is_broken_expect_error_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(make_item(0).rgb).save(path)
    data = bytearray(path.read_bytes())
    length = data.index(b"IDAT") - 4
    data[length : length + 4] = struct.pack(">I", 1000)  # What follows is taken for a chunk's name.
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"photo\.png: not a readable image"):
        read_image(path)


def kalie_file(folder: Path, points: dict[str, object], image: str = "imgs/entry_0.png") -> Path:
    (folder / "imgs").mkdir(exist_ok=True)
    Image.fromarray(make_item(0).rgb).save(folder / "imgs" / "entry_0.png")
    entry = {"img": image, "points": json.dumps(points), "other": {"task": "Sweep.", "objects": ["brush"]}}
    path = folder / "data_jsonformat.json"
    path.write_text(json.dumps({"entry_0": entry}))
    return path


KALIE_POINTS: dict[str, object] = {
    "Grasp Point": ["012", "999"],
    "Function Point": [500, 500],
    "Target Point": [1, 2],
    "Pre-contact Point": [3, 4],
    "Post-contact Point": [5, 6],
}


def test_published_kalie_labels_are_imported(tmp_path: Path) -> None:
    (item,) = import_kalie(kalie_file(tmp_path, KALIE_POINTS))
    assert item.affordance.grasp == Keypoint(0.0125, 0.9995)
    assert (item.instruction, item.provenance.source) == ("Sweep.", "photo")


def test_when_kalie_label_is_off_the_image_expect_entry_and_point_named(tmp_path: Path) -> None:
    path = kalie_file(tmp_path, {**KALIE_POINTS, "Target Point": [1004, 5]})
    with pytest.raises(DatasetError, match="entry_0: Target Point"):
        import_kalie(path)
    (item,) = import_kalie(path, outside="absent")
    assert item.affordance.target is None


def test_when_kalie_image_path_leaves_the_folder_expect_refusal(tmp_path: Path) -> None:
    for name in ("../secret.png", "/etc/passwd"):
        with pytest.raises(DatasetError, match="leaves"):
            import_kalie(kalie_file(tmp_path, KALIE_POINTS, image=name))
