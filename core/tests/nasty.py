"""A folder of files that break careless readers."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from media import blocks, encoded, grey_frames, sound_bytes, video_bytes
from PIL import Image


def bomb_png(width, height):
    """A PNG of a few bytes whose header promises ``width`` × ``height`` pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def bomb_gif(width, height):
    """A GIF of a few bytes with one frame of ``width`` × ``height`` pixels."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def write_nasty_folder(path):
    """Write 30 nasty files, all with the suffix of a picture or a video, and list them sorted by name."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    picture = blocks()
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    clip = video_bytes(grey_frames(20), movflags="frag_keyframe+empty_moov")
    unindexed = video_bytes(grey_frames(20))
    half = len(jpeg) // 2
    contents = {
        # Not pictures at all
        "empty.jpg": b"",
        "one_byte.png": b"\x89",
        "zeros.jpg": bytes(5000),
        "noise.avif": np.random.default_rng(0).bytes(3000),
        "html.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "text.png": b"only words\n" * 50,
        "json.webp": b'{"error": "rate limited"}',
        "pdf.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(100),
        "lfs_pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "playlist.mp4": b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n",
        "sound.mp4": sound_bytes(),
        # Cut short or damaged
        "truncated.jpg": jpeg[:half],
        "truncated_progressive.jpg": encoded(picture, "JPEG", progressive=True)[:half],
        "header_only.jpg": jpeg[:20],
        "truncated.png": png[: len(png) // 2],
        "truncated.webp": encoded(picture, "WEBP")[:1000],
        "truncated.gif": encoded(picture, "GIF")[:1000],
        "truncated.tif": encoded(picture, "TIFF")[:9000],
        "truncated.mp4": clip[: len(clip) * 2 // 3],
        "index_lost.mp4": unindexed[: unindexed.rindex(b"moov")],
        # Larger than they look
        "bomb.png": bomb_png(60000, 60000),
        "bomb.gif": bomb_gif(65535, 65535),
        # Sound, but unusual
        "one_pixel.png": encoded(picture[:1, :1], "PNG"),
        "thin.png": encoded(np.zeros((1, 20000, 3), np.uint8), "PNG"),
        "png_inside.jpg": png,
        "cmyk.jpg": encoded(Image.fromarray(picture).convert("CMYK"), "JPEG"),
        "not_a_number.tif": encoded(Image.fromarray(np.full((32, 32), np.nan, np.float32)), "TIFF"),
        "портрет 脸 😀 [1].png": png,
    }
    for name, data in contents.items():
        (path / name).write_bytes(data)
    (path / "broken_link.jpg").symlink_to(path / "gone.jpg")
    # A name that is not UTF-8, where the system allows one.
    odd = b"caf\xe9.jpg" if sys.platform == "linux" else b"cafe.jpg"
    (path / os.fsdecode(odd)).write_bytes(jpeg)
    return sorted(path.iterdir())
