"""What video files and animated image files share: frames by time, without the damaged ones where that can be."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from deepfake_core.inputs.streams.clock import Timeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Between two samples that are further apart than this, jump to the key frame before the later one: encoders place
# key frames at most about 10 s apart, so a shorter jump would decode as much again.
_JUMP_GAP_S = 10.0


class Decoded(NamedTuple):
    """Frame as the decoder gives it.

    Attributes:
        time: Time at which it is shown, in seconds.
        frame: Frame of the decoder.
        is_clean: Whether neither it nor a frame that it builds on is damaged.
    """

    time: float
    frame: Any
    is_clean: bool = True


class Moving(ABC):
    """Moving picture, which is read by time in seconds.

    Attributes:
        name: Name of the input in messages.
        limit: Most pixels of a frame.
        step: Time between two frames by the stated frame rate, in seconds.
        decoded: Number of frames that were decoded so far, or that could not be decoded.
        damaged: Number of those that are damaged.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.step = 0.0
        self.decoded = 0
        self.damaged = 0

    @abstractmethod
    def timeline(self) -> Timeline:
        """Return the times of all frames.

        Raises:
            InputError: The frames have more pixels than the limit, and the times cannot be had without decoding them.
        """

    @abstractmethod
    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        """Convert a frame of the decoder to upright ``uint8 [h, w, 3]`` RGB, as it is shown.

        Raises:
            InputError: The frame is larger than the limit, or cannot be converted.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what was opened; the file stays open."""

    def is_whole(self) -> bool:
        """Return whether the file reaches as far as its header states; true if it states no length."""
        return True

    def left_out(self, sampled: int) -> list[str]:  # noqa: ARG002
        """Return what of the file is not looked at if so many frames are sampled, one sentence each."""
        return []

    def damage(self) -> tuple[int, int]:
        """Return how many frames are damaged of those that were decoded so far, and the number of these."""
        return self.damaged, self.decoded

    def shown_at(self, targets: list[float]) -> Iterator[tuple[int, Decoded]]:
        """Yield position in ``targets`` and frame shown at each of them, in the order of time.

        A damaged frame is replaced by the nearest undamaged one between the last frame and the next target.

        Args:
            targets: Times in seconds, ascending. The times of the yielded frames ascend too.
        """
        frames = self._decoded()
        shown: Decoded | None = None
        clean: Decoded | None = None  # the last undamaged frame
        ahead = next(frames, None)
        last_yielded = -math.inf
        can_jump = True
        for place, target in enumerate(targets):
            if can_jump and ahead is not None and target - ahead.time > _JUMP_GAP_S:
                jumped = self._jump(target)
                if jumped is not None:
                    position, shown, clean = ahead.time, None, None
                    frames = jumped
                    ahead = next(frames, None)
                    # If key frames are too far apart, a jump saves nothing.
                    can_jump = ahead is not None and ahead.time > position
            while ahead is not None and ahead.time <= target:
                clean = ahead if ahead.is_clean else clean
                shown, ahead = ahead, next(frames, None)
            best = shown or ahead
            if best is not None and not best.is_clean:
                until = min([target + _JUMP_GAP_S, *targets[place + 1 : place + 2]])
                while ahead is not None and not ahead.is_clean and ahead.time < until:
                    shown, ahead = ahead, next(frames, None)
                near = [one for one in (clean, ahead) if one and one.is_clean and last_yielded < one.time < until]
                best = min(near, key=lambda one: abs(one.time - target), default=best)
            if best is not None and best.time >= last_yielded:
                last_yielded = best.time
                yield place, best

    @abstractmethod
    def _decoded(self) -> Iterator[Decoded]:
        """Yield everything that can be decoded from here on."""

    def _jump(self, target: float) -> Iterator[Decoded] | None:  # noqa: ARG002
        """Yield the same from a key frame before ``target`` (seconds) on; return ``None`` if that saves nothing."""
        return None
