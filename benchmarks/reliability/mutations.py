"""Ways to damage the bytes of a file: flips, cuts, splices, lengths that lie, parts that occur twice."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers that are written over lengths, sizes and offsets."""


def flip_bits(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Turn single bits over."""
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Write other bytes anywhere."""
    for _ in range(rng.choice((1, 4, 32))):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def damage_head(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Write other bytes where the header is."""
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 64))] = rng.randrange(256)


def lie_about_a_length(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Write a number where a length, a size or an offset may be."""
    width = rng.choice((1, 2, 4, 8))
    place = rng.randrange(min(len(data), rng.choice((64, 512, 1 << 30))))
    number = rng.choice((*EXTREMES, rng.randrange(1 << 16), rng.randrange(1 << 32)))
    data[place : place + width] = (number % (1 << 8 * width)).to_bytes(width, rng.choice(("big", "little")))


def truncate(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Leave out the end."""
    del data[rng.randrange(len(data)) :]


def cut_out(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Leave out a part."""
    start, end = _part(data, rng)
    del data[start:end]


def repeat(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Repeat a part, such as a chunk."""
    start, end = _part(data, rng)
    data[end:end] = data[start:end] * rng.choice((1, 1, 2, 16))


def swap(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Write a part over another one."""
    start, end = _part(data, rng)
    place = rng.randrange(len(data))
    part = data[start:end]
    data[place : place + len(part)] = part


def zeros(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Write zeros over a part."""
    start, end = _part(data, rng)
    data[start:end] = bytes(end - start)


def noise(data: bytearray, rng: random.Random, _other: bytes) -> None:
    """Write noise over a part."""
    start, end = _part(data, rng)
    data[start:end] = rng.randbytes(end - start)


def splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Write a part of another file over a part."""
    start, end = _part(data, rng)
    first, last = _part(other, rng)
    data[start:end] = other[first:last]


def append(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Add bytes, or another file, at the end."""
    data += rng.choice((other, bytes(64), rng.randbytes(256)))


MUTATIONS: tuple[Callable[[bytearray, random.Random, bytes], None], ...] = (
    flip_bits,
    set_bytes,
    damage_head,
    lie_about_a_length,
    lie_about_a_length,
    truncate,
    cut_out,
    repeat,
    swap,
    zeros,
    noise,
    splice,
    append,
)


def mutated(samples: Mapping[str, bytes], seed: int, index: int) -> tuple[str, bytes]:
    """Return the name of a sample and its bytes after one to three mutations; the same for the same arguments.

    Args:
        samples: Valid files by name.
        seed: Seed of the run.
        index: Number of the input within the run; samples take turns.
    """
    rng = random.Random(f"{seed}:{index}")
    names = sorted(samples)
    name = names[index % len(names)]
    data, other = bytearray(samples[name]), samples[rng.choice(names)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            rng.choice(MUTATIONS)(data, rng, other)
    if name.endswith(".png") and rng.random() < 0.5:
        with_checksums(data)
    return name, bytes(data)


def with_checksums(data: bytearray) -> None:
    """Give the chunks of a PNG checksums that are right, so that a decoder reads on behind the damage."""
    place = 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4


def _part(data: Any, rng: random.Random) -> tuple[int, int]:
    """Return the start and the end of a part that is not empty; short parts are as frequent as long ones."""
    length = min(len(data), 1 << rng.randrange(max(1, len(data).bit_length())))
    start = rng.randrange(len(data) - length + 1)
    return start, start + max(1, length)
