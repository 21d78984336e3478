"""The moment at which a run has to end, as users name it: a time of the day, a date with a time, or minutes."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from deepfake_core.errors import DeepfakeError


def seconds_until(stop_at: str | datetime | None, minutes: float | None, now: datetime | None = None) -> float | None:
    """Return the time in s until a run has to end; ``None`` where nothing limits it.

    Args:
        stop_at: Next time of the day (``"20:30"``), or a date with a time (``"2026-03-01T20:30"``); local time where
            it names no other zone.
        minutes: Time from now on; only one of the two may be given.
        now: The present moment, with its time zone; by default that of the system.

    Raises:
        DeepfakeError: It is no such moment, it is in the past, or both are given.
    """
    if stop_at is not None and minutes is not None:
        raise DeepfakeError("--stop-at and --minutes both say when the run has to end; give one of them")
    if minutes is not None:
        if not (math.isfinite(minutes) and minutes > 0):
            raise DeepfakeError(f"--minutes {minutes:g}: must be a number above 0")
        return minutes * 60
    if stop_at is None:
        return None
    now = (now or datetime.now()).astimezone()
    moment = stop_at if isinstance(stop_at, datetime) else _moment(stop_at.strip(), now)
    seconds = (moment.astimezone() - now).total_seconds()
    if seconds <= 0:
        if isinstance(stop_at, datetime):  # the time of --minutes, too, may pass while the run is checked
            raise DeepfakeError(
                f"the run has to end by {moment.astimezone():%Y-%m-%d %H:%M:%S}, which is in the past, it is "
                f"{now:%Y-%m-%d %H:%M:%S}; give it more time"
            )
        raise DeepfakeError(f"--stop-at {stop_at}: is in the past, it is {now:%Y-%m-%d %H:%M}; name a later moment")
    return seconds


def _moment(text: str, now: datetime) -> datetime:
    """Return the moment that a text names."""
    try:
        if len(text) > len("HH:MM:SS"):
            return datetime.fromisoformat(text)
        time = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise DeepfakeError(
            f"--stop-at {text}: is no time of the day such as 20:30, and no date with a time such as 2026-03-01T20:30"
        ) from None
    # A time of the day is put together anew for tomorrow, because a day need not have 24 hours.
    today, tomorrow = (datetime.combine((now + timedelta(days=day)).date(), time).astimezone() for day in (0, 1))
    return today if today > now else tomorrow
