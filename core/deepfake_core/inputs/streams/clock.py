"""Times at which the frames of a video are shown, also where its time stamps start again or are missing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A clock that goes back by more than this starts again, whatever kind of frame it is: no encoder reorders that far.
_REORDERED_S = 10.0
# If fewer than this share of the frames have a time of their own, the time stamps are useless.
_DISTINCT_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Timeline:
    """Times of the frames of a video, in seconds.

    Attributes:
        start: Time at which the video begins.
        end: Time at which it ends.
        times: ``float64 [n]``, ascending and distinct: when each frame is first shown.
    """

    start: float
    end: float
    times: NDArray[np.float64]

    def middles(self, count: int) -> list[float]:
        """Return up to ``count`` times, each in the middle of an equal part of the video.

        If gaps in the time stamps would give fewer frames than there are, equal numbers of frames make a part.
        """
        part = (self.end - self.start) / count
        middles = [self.start + (index + 0.5) * part for index in range(count)]
        wanted = min(count, len(self.times))
        if len(set(self._shown(middles))) >= wanted:
            return middles
        return self.middles_of([int((index + 0.5) * len(self.times) / wanted) for index in range(wanted)])

    def middles_of(self, numbers: list[int]) -> list[float]:
        """Return the time in the middle of each of these frames."""
        ends = np.append(self.times[1:], max(self.end, self.times[-1]))
        places = np.clip(numbers, 0, len(self.times) - 1)
        return [float(time) for time in (self.times[places] + ends[places]) / 2]

    def has_gaps(self) -> bool:
        """Return whether frames are missing for more than half of the time, by the usual time from one to the next."""
        usual = float(np.median(np.diff(self.times))) if len(self.times) > 1 else self.end - self.start
        return usual * len(self.times) < 0.5 * (self.end - self.start)

    def _shown(self, times: list[float]) -> list[int]:
        return [max(0, int(place) - 1) for place in np.searchsorted(self.times, times, side="right")]


@dataclass(slots=True)
class Clock:
    """Clock of a stream's packets, in file order.

    Where the time stamps start again, as in files that were joined, the clock goes on without a gap.

    Attributes:
        step: Time between two frames by the stated frame rate, in seconds.
        times: Time of each packet in seconds.
        keys: Numbers of the packets from which decoding can start.
        starts: Number of the first packet of each part, a part being what has one clock.
        shifts: Seconds to add to the time stamps of each part.
    """

    step: float
    times: list[float] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    shifts: list[float] = field(default_factory=lambda: [0.0])

    @classmethod
    def of(cls, packets: Iterable[tuple[float | None, bool]], step: float) -> Clock:
        """Read the clock of a stream.

        Args:
            packets: Time stamp in seconds, if it has one, and whether decoding can start from it, of each packet.
            step: Time between two frames by the stated frame rate, in seconds.
        """
        clock = cls(step)
        last, top = -step, -np.inf  # time stamps of the last packet, and the latest of this part
        for number, (stamp, is_key) in enumerate(packets):
            last = last + step if stamp is None else stamp
            # In a stream with one clock, a key frame is later than everything before it.
            if (is_key and last < top) or last < top - _REORDERED_S:
                clock.starts.append(number)
                clock.shifts.append(clock.shifts[-1] + top + step - last)
                top = last
            top = max(top, last)
            clock.times.append(last + clock.shifts[-1])
            if is_key:
                clock.keys.append(number)
        if len(set(clock.times)) < _DISTINCT_SHARE * len(clock.times):
            clock.times = [number * step for number in range(len(clock.times))]
            clock.starts, clock.shifts = [], []
        return clock

    @property
    def restarts(self) -> bool:
        """Whether the time stamps start again somewhere, or say nothing."""
        return len(self.starts) != 1

    def time(self, number: int, stamp: float | None) -> float | None:
        """Return the time in seconds of a frame, if it has one.

        Args:
            number: Number of the packet that held the frame.
            stamp: Its time stamp in seconds, if it has one.
        """
        if not self.starts:
            return self.times[number]
        return None if stamp is None else stamp + self.shifts[bisect_right(self.starts, number) - 1]

    def key_before(self, time: float) -> int:
        """Return the number of the last packet before ``time`` (seconds) from which decoding can start."""
        first = next((number for number, own in enumerate(self.times) if own > time), len(self.times))
        place = bisect_right(self.keys, first - 1)
        return self.keys[place - 1] if place else 0
