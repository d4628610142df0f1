"""The records of an MCAP file, found again after whatever is damaged, and chunks unpacked within bounds."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import mmap

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, Schema, Statistics
from mcap.stream_reader import breakup_chunk
from mcap.writer import MCAP0_MAGIC

# What unpacking damaged or hostile bytes raises, in mcap and below it.
BROKEN = (
    McapError, ValueError, LookupError, RuntimeError, EOFError, MemoryError, OverflowError, TypeError,
    struct.error, zstandard.ZstdError,
)  # fmt: skip
MOST_CHUNK_BYTES = 2**30
_FRAME = struct.Struct("<BQ")
_FOOTER_SIZE = _FRAME.size + 20
_OPCODES = frozenset(Opcode)
_FIRST_PRIVATE_OPCODE = 0x80
# How a chunk begins: opcode, length below 2**40, two times, size, checksum, and the name of its compression.
_CHUNK_HEAD = re.compile(rb"\x06.{5}\x00{3}.{28}(?:\x04\x00{3}zstd|\x03\x00{3}lz4|\x00{4})", re.DOTALL)
# The lengths inside a record: bytes before each, counted from the end of the part before, and its form.
_LENGTHS: dict[int, tuple[tuple[int, str], ...]] = {
    Opcode.HEADER: ((0, "<I"), (0, "<I")),
    Opcode.CHUNK: ((28, "<I"), (0, "<Q")),
    Opcode.MESSAGE_INDEX: ((2, "<I"),),
}


@dataclass(frozen=True)
class Content:
    """The content of one record: bytes `start` to `end`."""

    opcode: int
    start: int
    end: int


@dataclass(frozen=True)
class Gap:
    """Bytes `start` to `end`, which are no records."""

    start: int
    end: int


def scan(data: mmap, position: int = len(MCAP0_MAGIC)) -> Iterator[Content | Gap]:
    """What lies in a file from a position to its footer; after a gap it goes on with the next chunk."""
    while position < len(data):
        content = _record_at(data, position)
        if content is None:
            following = _next_chunk(data, position + 1)
            yield Gap(position, following)
            position = following
            continue
        yield content
        position = content.end
        if content.opcode == Opcode.FOOTER:
            return


def unpack(data: mmap, content: Content) -> list[McapRecord]:
    """The schemas, channels, messages and statistics that a record is or holds. Raises one of `BROKEN`."""
    stream = ReadDataStream(io.BytesIO(data[content.start : content.end]))
    match content.opcode:
        case Opcode.CHUNK:
            return breakup_chunk(_inflated(Chunk.read(stream)), validate_crc=True)
        case Opcode.MESSAGE:
            return [Message.read(stream, content.end - content.start)]
        case Opcode.SCHEMA:
            return [Schema.read(stream)]
        case Opcode.CHANNEL:
            return [Channel.read(stream)]
        case Opcode.STATISTICS:
            return [Statistics.read(stream)]
    return []


def summary(data: mmap) -> list[McapRecord]:
    """What the end of a file repeats and counts; empty when it is not there or its checksum is wrong."""
    footer_at = len(data) - len(MCAP0_MAGIC) - _FOOTER_SIZE
    if footer_at < 0 or data[-len(MCAP0_MAGIC) :] != MCAP0_MAGIC or data[footer_at] != Opcode.FOOTER:
        return []
    footer = Footer.read(ReadDataStream(io.BytesIO(data[footer_at + _FRAME.size :])))
    summed = data[footer.summary_start : footer_at + _FOOTER_SIZE - 4]
    if not footer.summary_start or (footer.summary_crc and zlib.crc32(summed) != footer.summary_crc):
        return []
    try:
        found = [item for item in scan(data, footer.summary_start) if isinstance(item, Content)]
        return [record for content in found for record in unpack(data, content)]
    except BROKEN:
        return []


def _record_at(data: mmap, position: int) -> Content | None:
    """The record at a position; None where there is none, or its lengths disagree."""
    start = position + _FRAME.size
    if start > len(data):
        return None
    opcode, length = _FRAME.unpack_from(data, position)
    known = opcode in _OPCODES or opcode >= _FIRST_PRIVATE_OPCODE
    if not known or start + length > len(data):
        return None
    content = Content(opcode, start, start + length)
    return content if _fits(data, content) else None


def _fits(data: mmap, content: Content) -> bool:
    """Whether the lengths inside a record agree with its own; else a flipped bit could hide the next ones."""
    if content.opcode not in _LENGTHS:
        return True
    position = content.start
    try:
        for skipped, length in _LENGTHS[content.opcode]:
            (inner,) = struct.unpack_from(length, data, position + skipped)
            position += skipped + struct.calcsize(length) + inner
    except struct.error:  # beyond the end of the file
        return False
    return position == content.end


def _next_chunk(data: mmap, position: int) -> int:
    """Where the next chunk begins; the end of the file without one."""
    while found := _CHUNK_HEAD.search(data, position):
        if _record_at(data, found.start()) is not None:
            return found.start()
        position = found.start() + 1
    return len(data)


def _inflated(chunk: Chunk) -> Chunk:
    """A chunk without compression. Raises ValueError where it grows beyond what it says, or beyond reason."""
    size = chunk.uncompressed_size
    if size > MOST_CHUNK_BYTES:
        raise ValueError(f"a chunk of {size:,} bytes, expected at most {MOST_CHUNK_BYTES:,}")
    if chunk.compression == "zstd":
        if zstandard.frame_content_size(chunk.data) > size:
            raise ValueError("a chunk is larger than it says")
        return replace(chunk, compression="", data=zstandard.decompress(chunk.data, size))
    if chunk.compression == "lz4":
        inflated = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size)
        return replace(chunk, compression="", data=inflated)
    return chunk
