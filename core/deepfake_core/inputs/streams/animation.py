"""Image files with several frames: animated GIF, WebP, PNG and AVIF, and TIFF with several pages."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import decode, image_factory, is_animated
from deepfake_core.inputs.reading.limits import refuse_large
from deepfake_core.inputs.reading.tiff import full_pages
from deepfake_core.inputs.streams.clock import Timeline
from deepfake_core.inputs.streams.moving import Decoded, Moving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.inputs.sniff import Kind

_STILL = frozenset({"JPEG", "BMP"})
# Frames build on each other, so that all of them are decoded: a small file can hold any number of large ones.
_MOST_PIXELS = 2_000_000_000
# A small file that states large frames is nearly always a damaged one: of all frames together, so many pixels are
# decoded in any case, and so many for each byte of the file. They take about 3 s.
_USUAL_PIXELS = 200_000_000
_PIXELS_PER_BYTE = 2000
# Browsers and viewers show a frame that states less than this for a tenth of a second.
_LEAST_MS = 11
_USUAL_MS = 100
# A frame that is shown for long is not repeated more often than this.
_MOST_SHOWN = 4096


def animation(stream: IO[bytes], kind: Kind, name: str, limit: int) -> Animation | None:
    """Open an animated image file; return ``None`` if it holds a single frame, or cannot be read.

    Args:
        stream: Open file at its start.
        kind: Kind of the file.
        name: Name of the input in messages.
        limit: Most pixels of a frame.
    """
    if kind.pillow == "TIFF":
        return _pages(stream, name, limit)
    if kind.pillow in _STILL:
        return None
    try:
        found = Animation(stream, kind.pillow, name, limit)
        return found if found.moves else None
    except Exception:  # noqa: BLE001 - a damaged image, of which reading it as a single one says what is wrong
        return None
    finally:
        stream.seek(0)


def _pages(stream: IO[bytes], name: str, limit: int) -> Pages | None:
    """Open a TIFF file with several pages that are pictures of their own; ``None`` for any other."""
    try:
        numbers = full_pages(stream)
        return Pages(stream, numbers, name, limit) if len(numbers) > 1 else None
    except Exception:  # noqa: BLE001 - as above
        return None
    finally:
        stream.seek(0)


class Animation(Moving):
    """Animated image, whose frames are shown one after the other for the times that it states.

    A frame that is shown for several times as long as the shortest one counts as so many frames.

    Args:
        stream: Open file of an image.
        form: Pillow's name of its format.
        name: Name of the input in messages.
        limit: Most pixels of a frame.
    """

    builds_on_earlier = True
    """Whether a frame needs those before it, so that nothing behind one that is too large can be shown."""

    def __init__(self, stream: IO[bytes], form: str, name: str, limit: int) -> None:
        super().__init__(name, limit)
        self._stream, self._form = stream, form
        image = self._opened()
        self.moves = is_animated(image)
        count, self._is_cut_off = _counted(image)
        self._numbers: Sequence[int] = range(count)
        self._most = min(_MOST_PIXELS, max(_USUAL_PIXELS, _PIXELS_PER_BYTE * stream.seek(0, io.SEEK_END)))
        self._kept = max(1, min(len(self._numbers), self._most // max(1, image.width * image.height)))
        self._durations: dict[int, float] = {}  # in seconds, of each frame that can be decoded
        self._is_read = False  # whether every frame was tried

    def close(self) -> None:
        """Do nothing: Pillow holds nothing but the file."""

    def timeline(self) -> Timeline:
        refuse_large(self._opened(), self.name, self.limit)
        # Only decoding tells the times.
        for number, image in self._loaded():
            stated = float(image.info.get("duration") or 0)
            self._durations[number] = (stated if stated >= _LEAST_MS else _USUAL_MS) / 1000
        total = sum(self._durations.values())
        self.step = max(min(self._durations.values(), default=_USUAL_MS / 1000), total / _MOST_SHOWN)
        times = [time + place * self.step for time, count in self._shown().values() for place in range(count)]
        return Timeline(0.0, max(total, self.step), np.unique(times or [0.0]))

    def is_whole(self) -> bool:
        return not self._is_cut_off and max(self._durations, default=0) == self._kept - 1

    def left_out(self, sampled: int) -> list[str]:  # noqa: ARG002
        if self._kept >= len(self._numbers):
            return []
        return [
            f"of its {len(self._numbers)} frames, only the first {self._kept} were looked at, because they are large"
        ]

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        return decode(frame, max_pixels=self.limit, name=self.name).pixels

    def _decoded(self) -> Iterator[Decoded]:
        is_clean, last = True, -1
        shown = self._shown()
        for number, image in self._loaded():
            missing = number - last - 1
            is_clean = is_clean and not (missing and self.builds_on_earlier)
            last = number
            self.decoded += 1 + missing
            self.damaged += missing + (not is_clean)
            frame = image.copy()
            time, count = shown.get(number, (0.0, 0))
            for place in range(count):
                yield Decoded(time + place * self.step, frame, is_clean)
        self._is_read = True
        if not self.builds_on_earlier:
            self.decoded += self._kept - 1 - last
            self.damaged += self._kept - 1 - last

    def _opened(self) -> Image.Image:
        """Open the image from its start, as Pillow keeps the size of a frame that it refused."""
        self._stream.seek(0)
        return image_factory(self._form)(self._stream, "")

    def _loaded(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield number and image of each frame that can be decoded; it is the same object each time."""
        image, pixels = self._opened(), 0
        for number, place in enumerate(self._numbers[: self._kept]):
            try:
                image.seek(place)
                refuse_large(image, self.name, self.limit)
                pixels += image.width * image.height
                if pixels > self._most:  # frames are larger than the header says
                    self._kept = number
                    return
                image.load()
            except EOFError:
                return
            except (Image.DecompressionBombError, Image.DecompressionBombWarning, InputError):
                if self.builds_on_earlier:
                    return
            except Exception:  # noqa: BLE001, S112 - Pillow raises anything for damaged files
                continue
            else:
                yield number, image

    def _shown(self) -> dict[int, tuple[float, int]]:
        """Return when each frame is shown, in seconds, and how many times."""
        found, time = {}, 0.0
        for number, duration in self._durations.items():
            found[number] = time, max(1, round(duration / self.step))
            time += duration
        return found


def _counted(image: Image.Image) -> tuple[int, bool]:
    """Return the number of frames of an opened image, and whether it ends within the header of another one."""
    with suppress(Exception):  # Pillow raises anything for damaged files
        return getattr(image, "n_frames", 1), False
    count = 1
    with suppress(Exception):
        while True:
            image.seek(count)
            count += 1
    return count, True


class Pages(Animation):
    """Pages of a TIFF file, as frames that are shown for equal times.

    Args:
        stream: Open TIFF file.
        numbers: Numbers of the pages that are pictures of their own.
        name: Name of the input in messages.
        limit: Most pixels of a page.
    """

    builds_on_earlier = False

    def __init__(self, stream: IO[bytes], numbers: Sequence[int], name: str, limit: int) -> None:
        super().__init__(stream, "TIFF", name, limit)
        self._numbers = numbers
        self._kept = min(self._kept, len(numbers))

    def timeline(self) -> Timeline:
        self.step = _USUAL_MS / 1000
        self._durations = dict.fromkeys(range(self._kept), self.step)
        return Timeline(0.0, self._kept * self.step, self.step * np.arange(self._kept, dtype=np.float64))

    def left_out(self, sampled: int) -> list[str]:
        if self._is_read or self._kept <= sampled:
            return super().left_out(sampled)
        pages = len(self._numbers)
        return [f"of its {pages} pages, {sampled} were looked at; raise frames to {pages}"]
