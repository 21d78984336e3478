"""Animated image files: GIF, WebP, PNG and AVIF with several frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepfake_core.inputs.decode import decode, image_factory
from deepfake_core.inputs.reading.limits import refuse_large
from deepfake_core.inputs.streams.clock import Timeline
from deepfake_core.inputs.streams.moving import Decoded, Moving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfake_core.inputs.sniff import Kind

_FORMATS = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
# Frames build on each other, so that all of them are decoded: a small file can hold any number of large ones.
_MOST_PIXELS = 2_000_000_000
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
    if kind.pillow not in _FORMATS:
        return None
    try:
        image = image_factory(kind.pillow)(stream, "")
        return Animation(image, name, limit) if getattr(image, "is_animated", False) else None
    except Exception:  # noqa: BLE001 - a damaged image, of which reading it as a single one says what is wrong
        return None
    finally:
        stream.seek(0)


class Animation(Moving):
    """Animated image, whose frames are shown one after the other for the times that it states.

    A frame that is shown for several times as long as the shortest one counts as so many frames.

    Args:
        image: Opened image file with several frames.
        name: Name of the input in messages.
        limit: Most pixels of a frame.
    """

    def __init__(self, image: Image.Image, name: str, limit: int) -> None:
        super().__init__(name, limit)
        self._image = image
        self._count = int(image.n_frames)  # type: ignore[attr-defined]
        self._kept = max(1, min(self._count, _MOST_PIXELS // max(1, image.width * image.height)))
        self._durations: dict[int, float] = {}  # in seconds, of each frame that can be decoded

    def close(self) -> None:
        """Do nothing: Pillow holds nothing but the file."""

    def timeline(self) -> Timeline:
        refuse_large(self._image, self.name, self.limit)
        # Only decoding tells the times.
        for number, _ in self._loaded():
            stated = float(self._image.info.get("duration") or 0)
            self._durations[number] = (stated if stated >= _LEAST_MS else _USUAL_MS) / 1000
        total = sum(self._durations.values())
        self.step = max(min(self._durations.values(), default=_USUAL_MS / 1000), total / _MOST_SHOWN)
        times = [time + place * self.step for time, count in self._shown().values() for place in range(count)]
        return Timeline(0.0, max(total, self.step), np.unique(times or [0.0]))

    def is_whole(self) -> bool:
        return max(self._durations, default=0) == self._kept - 1

    def left_out(self) -> list[str]:
        if self._kept == self._count:
            return []
        return [f"of its {self._count} frames, only the first {self._kept} were looked at, because they are large"]

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        return decode(frame, max_pixels=self.limit, name=self.name).pixels

    def _decoded(self) -> Iterator[Decoded]:
        is_clean, last = True, -1
        shown = self._shown()
        for number, image in self._loaded():
            missing = number - last - 1
            is_clean = is_clean and not missing  # later frames build on earlier ones
            last = number
            self.decoded += 1 + missing
            self.damaged += missing + (not is_clean)
            frame = image.copy()
            time, count = shown.get(number, (0.0, 0))
            for place in range(count):
                yield Decoded(time + place * self.step, frame, is_clean)

    def _loaded(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield number and image of each frame that can be decoded; it is the same object each time."""
        for number in range(self._kept):
            try:
                self._image.seek(number)
                self._image.load()
            except EOFError:
                return
            except Exception:  # noqa: BLE001, S112 - Pillow raises anything for damaged files
                continue
            yield number, self._image

    def _shown(self) -> dict[int, tuple[float, int]]:
        """Return when each frame is shown, in seconds, and how many times."""
        found, time = {}, 0.0
        for number, duration in self._durations.items():
            found[number] = time, max(1, round(duration / self.step))
            time += duration
        return found
