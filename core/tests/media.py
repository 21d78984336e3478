"""Pictures and videos that tests make for themselves."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
PORTRAIT = ROOT / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"
_MILLISECOND = Fraction(1, 1000)


def blocks(width=320, height=240, seed=0):
    """Coloured blocks of 20 px as ``uint8 [height, width, 3]``: easy to compress, hard to confuse."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 20), -(-width // 20), 3), np.uint8)
    return small.repeat(20, 0).repeat(20, 1)[:height, :width]


def encoded(image, format, **options):
    """A PIL image or array as the bytes of a file."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format, **options)
    return buffer.getvalue()


def grey_frames(count, size=(64, 48)):
    """Frames whose brightness says which they are: frame i of n has the level ``20 + 200 i / n``."""
    for index in range(count):
        yield np.full((size[1], size[0], 3), round(20 + 200 * index / count), np.uint8)


def video_bytes(
    frames, *, format="mp4", codec="mpeg4", rate=10, times=None, gop=12, seekable=True, tune=None, **options
):
    """Encode frames ``uint8 [h, w, 3]``; ``times`` in seconds make the frame rate variable.

    ``tune`` holds options of the codec, ``options`` those of the container. Where the output is not ``seekable``,
    the container states neither duration nor frame count.
    """
    buffer = io.BytesIO()
    target = buffer if seekable else _WriteOnly(buffer)
    with av.open(target, "w", format=format, options=options) as container:
        stream = None
        for index, pixels in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.gop_size = gop
                stream.codec_context.bit_rate = 4_000_000
                stream.options = tune or {}
                if times is not None:
                    stream.codec_context.time_base = stream.time_base = _MILLISECOND
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 1000), _MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def sound_bytes(format="mp4", codec="aac", seconds=1.0):
    """A media file that holds only sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format) as container:
        stream = container.add_stream(codec, rate=44100)
        samples = np.zeros((1, int(44100 * seconds)), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def turned_mp4(data, degrees):
    """An MP4 whose display matrix turns it by 90 or 180 degrees clockwise."""
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    cos, sin = {90: (0, one), 180: (-one, 0)}[degrees]
    matrix = (cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
    return data[:at] + b"".join(value.to_bytes(4, "big", signed=True) for value in matrix) + data[at + 36 :]


class _WriteOnly:
    """A pipe: it can be written to, but not sought."""

    def __init__(self, buffer):
        self.write = buffer.write
