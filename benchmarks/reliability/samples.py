"""Small valid pictures and videos with a face, which are then mutated; on one machine, the same bytes each time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PORTRAIT = Path(__file__).parents[1] / "deepfake_bench" / "data" / "portrait.jpg"
FRAMES = 8
"""Number of frames of each moving sample."""


def face(side: int = 112) -> Image.Image:
    """Return the face of the portrait as a square picture of this side, RGB."""
    with Image.open(PORTRAIT) as portrait:
        width = portrait.width
        box = (int(0.24 * width), 0, int(0.64 * width), int(0.4 * width))
        return portrait.convert("RGB").crop(box).resize((side, side))


def pictures() -> dict[str, bytes]:
    """Return small pictures in every format and variant that is mutated, by name; the suffix is the format's."""
    still = face()
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: turned by 90 degrees
    sixteen_bits = Image.fromarray(np.asarray(still.convert("L")).astype(np.uint16) * 257)
    palette = still.quantize(64)
    clear = still.copy()
    clear.putalpha(200)
    found = {
        "baseline.jpg": encoded(still, "JPEG", quality=80),
        "progressive.jpg": encoded(still, "JPEG", quality=80, progressive=True),
        "cmyk.jpg": encoded(still.convert("CMYK"), "JPEG", quality=80),
        "grey.jpg": encoded(still.convert("L"), "JPEG", quality=80),
        "turned.jpg": encoded(still, "JPEG", quality=80, exif=turned.tobytes()),
        "several.mpo": encoded(still, "MPO", save_all=True, append_images=[still]),
        "plain.png": encoded(still, "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "clear.png": encoded(clear, "PNG"),
        "sixteen.png": encoded(sixteen_bits, "PNG"),
        "interlaced.png": interlaced(),
        "moving.png": encoded(still, "PNG", **moving()),
        "plain.gif": encoded(palette, "GIF"),
        "moving.gif": encoded(still, "GIF", **moving()),
        "plain.webp": encoded(still, "WEBP", quality=80),
        "lossless.webp": encoded(clear, "WEBP", lossless=True),
        "moving.webp": encoded(still, "WEBP", **moving()),
        "plain.bmp": encoded(still, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "plain.tif": encoded(still, "TIFF"),
        "lzw.tif": encoded(still, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(still, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded(still, "TIFF", compression="jpeg"),
        "pages.tif": encoded(still, "TIFF", save_all=True, append_images=[still.rotate(90)]),
        "sixteen.tif": encoded(sixteen_bits, "TIFF"),
        "plain.avif": encoded(still, "AVIF", quality=70, speed=10),
        "moving.avif": encoded(still, "AVIF", speed=10, **moving()),
    }
    return found | heif(still)


def heif(still: Image.Image) -> dict[str, bytes]:
    """Return a picture in HEIF, where the library for it is installed."""
    try:
        import pillow_heif
    except ImportError:
        return {}
    stream = io.BytesIO()
    pillow_heif.from_pillow(still).save(stream, quality=70)
    return {"plain.heic": stream.getvalue()}


def interlaced() -> bytes:
    """Return an interlaced PNG, which Pillow cannot write: one pass with every pixel, seven reduced ones."""
    import struct
    import zlib

    pixels = np.asarray(face(64))
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, across in passes for row in pixels[top::down, left::across]
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def moving() -> dict[str, Any]:
    """Return the options that save three frames instead of one."""
    return {"save_all": True, "append_images": [face().rotate(angle) for angle in (5, 10)], "duration": 100}


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return without_times(stream.getvalue()) if form == "AVIF" else stream.getvalue()


def without_times(data: bytes) -> bytes:
    """Return a file of boxes without the times at which it was written: eight bytes each, in pairs."""
    return re.sub(rb"((?:mvhd|tkhd|mdhd)\x01...).{16}", lambda found: found[1] + bytes(16), data, flags=re.DOTALL)


def videos() -> dict[str, bytes]:
    """Return small videos in every container and codec that is mutated and can be written here, by name."""
    wanted = [
        ("h264.mp4", "mp4", "libx264", {}),
        ("fragments.mp4", "mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("mpeg4.avi", "avi", "mpeg4", {}),
        ("h264.mkv", "matroska", "libx264", {}),
        ("vp8.webm", "webm", "libvpx", {}),
        ("h264.ts", "mpegts", "libx264", {}),
        ("mpeg2.mpg", "mpeg", "mpeg2video", {}),
        ("flv1.flv", "flv", "flv1", {}),
        ("mjpeg.mov", "mov", "mjpeg", {}),
    ]
    found = dict(_written(wanted))
    still = {name: data for name, data in pictures().items() if name.startswith("moving.")}
    return found | still


def _written(wanted: list[tuple[str, str, str, dict[str, str]]]) -> Iterator[tuple[str, bytes]]:
    frames = [np.asarray(face(112).rotate(2 * number)) for number in range(FRAMES)]
    for name, container, codec, options in wanted:
        try:
            yield name, video(frames, container, codec, options)
        except (ValueError, av.FFmpegError):  # a build of FFmpeg without this codec
            continue


def video(frames: list[NDArray[np.uint8]], container: str, codec: str, options: dict[str, str]) -> bytes:
    """Return frames ``uint8 [H, W, 3]`` RGB as the bytes of a video."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=container, options=options) as out:
        bitexact: Any = av.container.Flags.bitexact  # no times, no random numbers
        out.flags |= bitexact.value
        track: Any = out.add_stream(codec, rate=25)
        track.height, track.width = frames[0].shape[:2]
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track.options = {"threads": "1"} | ({"preset": "ultrafast", "qp": "26"} if codec == "libx264" else {})
        for pixels in frames:
            out.mux(track.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        out.mux(track.encode())
    return stream.getvalue()
