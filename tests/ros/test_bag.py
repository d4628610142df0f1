"""Recordings as files: readable by others, whole or cut or damaged, never larger than allowed."""

from __future__ import annotations

import io
import random
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer

from kalie_ros.bag import (
    BagError,
    BagFull,
    BagReader,
    BagWriter,
    Compression,
    Recorded,
    Topic,
    header_stamp,
    recover,
)
from kalie_ros.definitions import SEPARATOR, UnknownType, definition, message_class, same_fields
from kalie_ros.mcap_scan import MOST_CHUNK_BYTES

NAME = Topic("/name", "std_msgs/msg/String", "string data", "[]", "RIHS01_x")
OTHER = Topic("/other", "std_msgs/msg/String", "string data")


def cdr(text: str) -> bytes:
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def write(path: Path, count: int = 60, compression: Compression = "zstd") -> list[tuple[str, int, bytes]]:
    """A recording of two topics in a dozen chunks."""
    writer = BagWriter(path, compression)
    written = []
    for topic in (NAME, OTHER):
        writer.add(topic)
    for number in range(count):
        topic = (NAME, OTHER)[number % 2].name
        written.append((topic, number, cdr(f"message {number} " + "x" * (number % 7))))
        writer.write(topic, written[-1][2], number, number)
        if number % 5 == 4:
            writer.flush()
    writer.close()
    return written


def plain(messages: list[Recorded]) -> list[tuple[str, int, bytes]]:
    return [(message.topic.name, message.log_time, message.data) for message in messages]


def read(path: Path) -> tuple[list[tuple[str, int, bytes]], list[str]]:
    with BagReader(path) as bag:
        return plain(list(bag.messages())), bag.losses


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_a_recording_is_what_mcap_reads_and_decodes(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / "a.mcap"
    written = write(path, compression=compression)
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        decoded = list(reader.iter_decoded_messages())
    assert [(item.channel.topic, item.message.log_time, item.message.data) for item in decoded] == written
    assert decoded[3].decoded_message.data.startswith("message 3")
    schema, channel = decoded[0].schema, decoded[0].channel
    assert schema is not None
    assert (schema.name, schema.encoding, channel.message_encoding) == (NAME.type, "ros2msg", "cdr")
    assert channel.metadata == {"offered_qos_profiles": "[]", "topic_type_hash": "RIHS01_x"}
    assert read(path) == (written, [])
    with BagReader(path) as bag:
        assert bag.topics() == [NAME, OTHER]
        assert bag.span() == (0, 59)
        assert {message.topic.name for message in bag.messages({"/other"})} == {"/other"}


def test_when_the_writer_dies_expect_all_that_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = BagWriter(path)
    writer.add(NAME)
    for number in range(10):
        writer.write(NAME.name, cdr(str(number)), number, number)
        if number == 7:
            writer.flush()
    found, losses = read(path)
    assert [time for _, time, _ in found] == list(range(8))
    assert losses == ["what came after its last flush, for it was never closed"]

    # mcap's own reader of whole files refuses it; its reader of streams gives the same messages.
    with path.open("rb") as stream, pytest.raises(McapError):
        list(make_reader(stream).iter_messages())
    with path.open("rb") as stream:
        assert [record.log_time for record in streamed(stream)] == list(range(8))


def streamed(stream: IO[bytes]) -> Iterator[Message]:
    """The messages that mcap's stream reader gives before it meets the end."""
    with suppress(EndOfFile):
        for record in StreamReader(stream).records:
            if isinstance(record, Message):
                yield record


def test_a_recovered_recording_is_whole(tmp_path: Path) -> None:
    written = write(tmp_path / "a.mcap")
    data = (tmp_path / "a.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) // 2])
    before, _ = read(tmp_path / "cut.mcap")
    losses = recover(tmp_path / "cut.mcap", tmp_path / "whole.mcap")
    assert losses
    with (tmp_path / "whole.mcap").open("rb") as stream:
        times = [
            message.log_time for _, _, message in make_reader(stream, validate_crcs=True).iter_messages()
        ]
    assert times == [time for _, time, _ in before]
    assert 0 < len(before) < len(written)


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_when_cut_anywhere_expect_the_chunks_before_the_cut(tmp_path: Path, compression: Compression) -> None:
    written = write(tmp_path / "a.mcap", compression=compression)
    data, path, counts = (tmp_path / "a.mcap").read_bytes(), tmp_path / "cut.mcap", []
    for end in range(8, len(data), 97):
        path.write_bytes(data[:end])
        found, losses = read(path)
        assert found == written[: len(found)]
        assert losses or len(found) == len(written)
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[-1] == len(written)


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_when_one_bit_flips_expect_no_false_message_and_the_loss_told(
    tmp_path: Path, compression: Compression
) -> None:
    written = write(tmp_path / "a.mcap", compression=compression)
    original, path, draw = (tmp_path / "a.mcap").read_bytes(), tmp_path / "bad.mcap", random.Random(0)
    lost = Counter()
    for _ in range(120):
        data = bytearray(original)
        position = draw.randrange(8, len(data))
        data[position] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        found, losses = read(path)
        false = set(found) - set(written)
        assert not false, f"byte {position}: {len(false)} false messages"
        assert losses or len(found) == len(written), f"byte {position}: {len(found)} messages, not a word"
        lost[len(written) - len(found)] += 1
    # One flip costs one chunk of five messages, or nothing.
    assert set(lost) <= {0, 5}, lost


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r", b"#ROSBAG V2.0\n" * 9])
def test_when_it_is_no_recording_expect_the_file_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(BagError, match=r"a\.mcap"):
        BagReader(tmp_path / "a.mcap")


def test_when_chunks_would_grow_beyond_bounds_expect_them_left_out(tmp_path: Path) -> None:
    bomb = zstandard.compress(bytes(50_000_000))
    for size in (1000, MOST_CHUNK_BYTES + 1):
        head = (
            struct.pack("<QQQI", 0, 0, size, 0)
            + struct.pack("<I", 4)
            + b"zstd"
            + struct.pack("<Q", len(bomb))
        )
        record = struct.pack("<BQ", 6, len(head) + len(bomb)) + head + bomb
        (tmp_path / "bomb.mcap").write_bytes(b"\x89MCAP0\r\n" + record)
        found, losses = read(tmp_path / "bomb.mcap")
        assert found == []
        assert len(losses) == 2


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("size", [10, 3000, 60_000])
def test_when_the_limit_is_reached_expect_a_whole_file_below_it(
    tmp_path: Path, compression: Compression, size: int
) -> None:
    limit, path = 200_000, tmp_path / "a.mcap"
    writer = BagWriter(path, compression, max_bytes=limit)
    for topic in (NAME, OTHER):
        writer.add(topic)
    with pytest.raises(BagFull, match="200,000 bytes"):
        fill(writer, size, random.Random(0))
    count = writer.messages
    writer.close()
    assert path.stat().st_size <= limit
    found, losses = read(path)
    assert (len(found), losses) == (count, [])
    assert count * size > limit / 10


def fill(writer: BagWriter, size: int, draw: random.Random) -> None:
    for number in range(100_000):
        writer.write((NAME, OTHER)[number % 2].name, draw.randbytes(size), number, number)
        if number % 10 == 0:
            writer.flush()


def test_when_something_lies_at_the_path_expect_it_untouched(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link.mcap").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link.mcap"):
        with pytest.raises(FileExistsError):
            BagWriter(tmp_path / name)
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_when_bytes_do_not_fit_the_definition_expect_a_bag_error(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "a.mcap")
    for topic in (NAME, Topic("/odd", "a/msg/B", "Missing part\nstring")):
        writer.add(topic)
        writer.write(topic.name, b"\0\1\0\0", 0, 0)
    writer.close()
    with BagReader(tmp_path / "a.mcap") as bag:
        for message in bag.messages():
            with pytest.raises(BagError, match=message.topic.name):
                bag.decode(message)


def test_the_stamp_is_read_without_decoding() -> None:
    assert header_stamp(b"\0\1\0\0" + struct.pack("<iI", 12, 345)) == 12_000_000_345
    assert header_stamp(b"\0\0\0\0" + struct.pack(">iI", 12, 345)) == 12_000_000_345
    with pytest.raises(BagError):
        header_stamp(b"\0\1\0\0")


@pytest.fixture
def prefixes(tmp_path: Path) -> list[Path]:
    """Two overlays with packages `inner_msgs` and `outer_msgs`."""
    texts = {
        "over/share/inner_msgs/msg/Point.msg": "float64 x # not Old\nfloat64 y\n",
        "under/share/inner_msgs/msg/Point.msg": "float64 old\n",
        "under/share/outer_msgs/msg/Part.msg": "uint8 KIND=1 # A Thing b\ninner_msgs/Point[<=4] points\n",
        "under/share/outer_msgs/msg/Whole.msg": "# No Type\nPart[2] p\ninner_msgs/Point where\nstring<=9 s\n",
        "under/share/outer_msgs/msg/Broken.msg": "none_msgs/Thing thing\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return [tmp_path / "over", tmp_path / "under"]


def test_a_definition_holds_every_part_once_as_foxglove_reads_it(prefixes: list[Path]) -> None:
    text = definition("outer_msgs/msg/Whole", prefixes)
    parts = text.split(f"\n{SEPARATOR}\n")
    assert [part.splitlines()[0] for part in parts[1:]] == ["MSG: outer_msgs/Part", "MSG: inner_msgs/Point"]
    assert "float64 y" in parts[2]
    stream = io.BytesIO()
    writer = Writer(stream)
    schema = writer.register_msgdef("outer_msgs/msg/Whole", text)
    point = {"x": 1.0, "y": 2.0}
    whole = {"p": [{"points": [point]}, {"points": []}], "where": point, "s": "abc"}
    writer.write_message("/whole", schema, whole, 0, 0)
    writer.finish()
    stream.seek(0)
    (item,) = make_reader(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages()
    assert item.decoded_message.p[0].points[0].y == 2.0
    assert item.decoded_message.s == "abc"


@pytest.mark.parametrize(
    "name",
    [
        "none_msgs/msg/A",
        "outer_msgs/msg/Broken",
        "outer_msgs/srv/Part",
        "../msg/Part",
        "os/msg/path",
        "a" * 9999,
    ],
)
def test_when_a_type_is_not_installed_expect_its_name_and_no_import(prefixes: list[Path], name: str) -> None:
    with pytest.raises(UnknownType):
        definition(name, prefixes)
    with pytest.raises(UnknownType):
        message_class(name, prefixes)


def test_definitions_are_alike_but_for_comments() -> None:
    assert same_fields("# a\nfloat64 x  # b\n\n", "float64   x")
    assert not same_fields("float64 x", "float32 x")
