"""Recordings: MCAP files of ROS 2 messages as they came over the wire.

They hold what rosbag2 writes and Foxglove reads: profile "ros2", messages in CDR, schemas in "ros2msg". A
writer that is killed leaves a file without a summary. `BagReader` reads it up to the cut, and so does mcap's
own `StreamReader`; for programs that begin with the summary, `recover` makes a whole file of it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from mcap.opcode import Opcode
from mcap.records import Channel, McapRecord, Message, Schema, Statistics
from mcap.writer import MCAP0_MAGIC, CompressionType, Writer
from mcap_ros2.decoder import DecoderFactory

from .mcap_scan import BROKEN, Gap, scan, summary, unpack

Compression = Literal["zstd", "lz4", "none"]
_COMPRESSIONS = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}
# Bytes, from above: beside a message's own (its record and index entry), beside a topic's texts, and in the
# summary for every chunk and every channel in it.
_PER_MESSAGE, _PER_TOPIC, _PER_CHUNK, _PER_CHUNK_CHANNEL = 64, 400, 160, 48


class BagError(ValueError):
    """A recording cannot be read at all, or one of its messages cannot; the message names the file."""


class BagFull(OSError):
    """One more message would make the file larger than it may be."""


@dataclass(frozen=True)
class Topic:
    """What is known of a recorded topic.

    Attributes:
        name: fully qualified.
        type: of its messages, e.g. sensor_msgs/msg/Image.
        definition: of the type, ros2msg text.
        offers: the qualities of service that its publishers offered, YAML as rosbag2 writes it.
        type_hash: of the type; empty when unknown.
    """

    name: str
    type: str
    definition: str
    offers: str = ""
    type_hash: str = ""


@dataclass(frozen=True)
class Recorded:
    """One message in CDR, and when it was received and published: nanoseconds of the system clock."""

    topic: Topic
    log_time: int
    publish_time: int
    data: bytes


class BagWriter:
    """Writes a new recording. What `flush` has written survives the death of the process.

    Args:
        path: of the file, which must not exist.
        compression: of the chunks.
        max_bytes: the closed file is no larger.

    Raises:
        OSError: the file exists or cannot be written.
    """

    def __init__(self, path: Path, compression: Compression = "zstd", max_bytes: int = 2**50) -> None:
        self.path = path
        self.messages = 0
        self._limit = max_bytes
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._pending, self._summary = 0, 1024
        # Exclusive: neither a file nor a link that lies there is written through.
        self._stream = path.open("xb")
        self._writer = Writer(self._stream, compression=_COMPRESSIONS[compression])
        self._writer.start(profile="ros2", library="kalie")

    def __contains__(self, topic: str) -> bool:
        return topic in self._channels

    @property
    def size(self) -> int:
        """Bytes of the file if it were closed now, estimated from above."""
        # Data that cannot be compressed grows by less than a hundredth.
        return self._stream.tell() + self._pending + self._pending // 100 + self._summary

    def add(self, topic: Topic) -> None:
        """Announce a topic, once and before its first message. Raises BagFull."""
        texts = (topic.name, topic.type, topic.definition, topic.offers, topic.type_hash)
        known = sum(len(text.encode()) for text in texts) + _PER_TOPIC
        self._make_room(2 * known)
        if topic.type not in self._schemas:
            definition = topic.definition.encode()
            self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", definition)
        metadata = {"offered_qos_profiles": topic.offers, "topic_type_hash": topic.type_hash}
        self._channels[topic.name] = self._writer.register_channel(
            topic.name, "cdr", self._schemas[topic.type], metadata
        )
        self._pending, self._summary = self._pending + known, self._summary + known

    def write(self, topic: str, data: bytes, log_time: int, publish_time: int) -> None:
        """Append a message of an announced topic; times in nanoseconds.

        Raises:
            BagFull: there is no room for it; the file is as it was.
        """
        self._make_room(len(data) + _PER_MESSAGE)
        before = self._stream.tell()
        self._writer.add_message(self._channels[topic], log_time, data, publish_time, self.messages)
        self.messages += 1
        self._pending += len(data) + _PER_MESSAGE
        if self._stream.tell() != before:
            self._chunk_ended()

    def flush(self) -> None:
        """Hand everything so far to the operating system in a form that can be read back."""
        if self._pending:
            self._writer.flush()
            self._chunk_ended()

    def close(self) -> None:
        """Write the summary and close the file, which is closed even when the disk is full."""
        with self._stream:
            self._writer.finish()
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def _make_room(self, more: int) -> None:
        if self.size + more + _PER_CHUNK + _PER_CHUNK_CHANNEL * (len(self._channels) + 1) > self._limit:
            raise BagFull(f"{self.path} reached its limit of {self._limit:,} bytes")

    def _chunk_ended(self) -> None:
        self._pending = 0
        self._summary += _PER_CHUNK + _PER_CHUNK_CHANNEL * len(self._channels)


class BagReader(AbstractContextManager["BagReader"]):
    """Reads whatever can be read of a recording, however it was cut or damaged.

    A chunk whose checksum is wrong is left out whole. What is lost stands in `losses` when the messages have
    been gone through.

    Raises:
        BagError: the file is empty, or no MCAP file.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses: list[str] = []
        self._schemas: dict[int, Schema] = {}
        self._topics: dict[int, Topic] = {}
        self._decoders: dict[Topic, Callable[[bytes], Any]] = {}
        with path.open("rb") as stream:
            if stream.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                raise BagError(f"{path}: not an MCAP file")
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._statistics: Statistics | None = None
        for record in summary(self._bytes):
            self._take(record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes.close()

    def topics(self) -> list[Topic]:
        """The recorded topics, by name."""
        if self._statistics is None:
            for _ in self.messages():
                pass
        return sorted(self._topics.values(), key=lambda topic: topic.name)

    def span(self) -> tuple[int, int]:
        """The first and the last log time, nanoseconds; (0, 0) without messages."""
        if self._statistics is not None:
            return self._statistics.message_start_time, self._statistics.message_end_time
        times = [message.log_time for message in self.messages()]
        return (min(times), max(times)) if times else (0, 0)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Every readable message of all topics, or of some, in the order of the file."""
        self.losses, count = [], 0
        for record in self._records():
            if not isinstance(record, Message):
                self._take(record)
                continue
            count += 1
            topic = self._topics.get(record.channel_id)
            if topic is None:
                self._lose(f"what topic number {record.channel_id} is")
            elif topics is None or topic.name in topics:
                yield Recorded(topic, record.log_time, record.publish_time, record.data)
        total = count if self._statistics is None else self._statistics.message_count
        if count != total:
            self._lose(f"{total - count} of {total} messages")

    def _records(self) -> Iterator[McapRecord]:
        """The records before the summary; what is lost is noted."""
        chunked = False
        for item in scan(self._bytes):
            if isinstance(item, Gap):
                self._lose(f"bytes {item.start:,} to {item.end:,}")
                continue
            if item.opcode == Opcode.DATA_END:
                return
            chunked = chunked or item.opcode == Opcode.CHUNK
            # Where there are chunks, what stands outside has no checksum, and is an index with a flipped bit.
            if chunked and item.opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
                self._lose(f"bytes {item.start:,} to {item.end:,}")
                continue
            try:
                yield from unpack(self._bytes, item)
            except BROKEN:
                self._lose(f"bytes {item.start:,} to {item.end:,}")
        self._lose("what came after its last flush, for it was never closed")

    def decode(self, message: Recorded) -> Any:  # noqa: ANN401 - a message of whatever type was recorded
        """A message as an object with its fields, by the definition that was recorded with it.

        Raises:
            BagError: its bytes do not fit the definition.
        """
        topic = message.topic
        try:
            if topic not in self._decoders:
                schema = Schema(id=1, name=topic.type, encoding="ros2msg", data=topic.definition.encode())
                decoder = DecoderFactory().decoder_for("cdr", schema)
                assert decoder is not None  # noqa: S101 - this is the encoding it is made for
                self._decoders[topic] = decoder
            return self._decoders[topic](message.data)
        except Exception as error:  # noqa: BLE001 - the parser of definitions raises what it likes
            raise BagError(f"{self.path}: a message of {topic.name} cannot be decoded ({error})") from None

    def _lose(self, what: str) -> None:
        if what not in self.losses:
            self.losses.append(what)

    def _take(self, record: McapRecord) -> None:
        """Take up what messages refer to, and the counts."""
        if isinstance(record, Statistics):
            self._statistics = record
        elif isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel) and record.schema_id in self._schemas:
            schema, metadata = self._schemas[record.schema_id], record.metadata
            self._topics[record.id] = Topic(
                name=record.topic,
                type=schema.name,
                definition=schema.data.decode("utf-8", "replace"),
                offers=metadata.get("offered_qos_profiles", ""),
                type_hash=metadata.get("topic_type_hash", ""),
            )


def recover(source: Path, target: Path) -> list[str]:
    """Copy what can be read of a recording to a new, whole one.

    Returns:
        what is lost.

    Raises:
        BagError: nothing can be read.
        OSError: `target` exists or cannot be written.
    """
    with BagReader(source) as bag:
        writer = BagWriter(target)
        for message in bag.messages():
            if message.topic.name not in writer:
                writer.add(message.topic)
            writer.write(message.topic.name, message.data, message.log_time, message.publish_time)
        writer.close()
        return bag.losses


def header_stamp(data: bytes) -> int:
    """The stamp, nanoseconds, of a message in CDR that begins with a std_msgs/Header, without decoding it.

    Raises:
        BagError: it is too short to hold one.
    """
    if len(data) < 12:
        raise BagError(f"a message of {len(data)} bytes holds no header")
    order: Literal["little", "big"] = "little" if data[1] & 1 else "big"
    seconds, nanoseconds = int.from_bytes(data[4:8], order, signed=True), int.from_bytes(data[8:12], order)
    return seconds * 10**9 + nanoseconds
