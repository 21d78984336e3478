"""Picture stream of a video file: its clock, and the frames shown at given times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, NoReturn

import av
import av.error
import numpy as np

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import one_line
from deepfake_core.inputs.streams.clock import Clock, Timeline
from deepfake_core.inputs.streams.moving import Decoded, Moving
from deepfake_core.inputs.streams.shape import Edges, mp4_edges, pixel_shape, shown, shown_size
from deepfake_core.runtimes.threads import allowed_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAILURES = (av.error.FFmpegError, OSError, ValueError, IndexError, OverflowError)
"""Errors that PyAV raises for damaged files, its own and others."""

# Formats of FFmpeg that hold pictures in the file itself. Others name files and addresses to read (playlists, scripts,
# descriptions of sessions), read devices, or read text as pictures.
_FORMATS = (
    "3dostr,amv,apv,asf,asf_o,av1,avi,avs2,avs3,cavsvideo,cdxl,cine,dhav,dirac,dnxhd,dv,evc,flic,flv,gxf,h261,h263,"
    "h264,hevc,ifv,ipu,ivf,kux,live_flv,lmlm4,luodat,lxf,m4v,matroska,mgsts,mjpeg,mlv,mov,mpeg,mpegts,mpegvideo,"
    "mpjpeg,mtv,mv,mvi,mxf,nsv,nut,nuv,obu,ogg,pva,rm,roq,rpl,smk,thp,ty,vc1,vc1test,viv,vivo,vvc,wtv,xmv,"
    "yuv4mpegpipe"
)
# Formats whose header states the length; in others FFmpeg guesses it from the bit rate.
_STATE_LENGTH = frozenset({"asf", "flv", "matroska", "mov", "mxf", "nut"})
# Frame rate in Hz that is assumed if a stream states none.
_FALLBACK_RATE = 25.0
# More threads than this do not help FFmpeg's decoders.
_MOST_THREADS = 16
_BUFFER_BYTES = 1 << 18
# A file ends where reading has failed so often.
_MOST_FAILURES = 100


class VideoStream(Moving):
    """Picture stream of one video file.

    Only FFmpeg's formats that hold the pictures themselves are opened, and no other file is.

    Args:
        file: Open file.
        name: Name of the input in messages.
        limit: Most pixels of a frame.

    Attributes:
        format: First of the names that FFmpeg has for the format of the file.

    Raises:
        InputError: The file is not a video, or it has no picture stream.
    """

    def __init__(self, file: IO[bytes], name: str, limit: int) -> None:
        super().__init__(name, limit)
        self.file = file
        self.container: Any
        self.stream: Any
        self._is_open = False
        self._packets: Iterator[tuple[int, Any]] = iter(())
        self._clock: Clock | None = None  # of a file without a complete index, which is read from start to end
        self._timeline: Timeline | None = None
        self._rewind()
        self.format = self.container.format.name.partition(",")[0]
        self._is_mp4 = self.format == "mov"
        self._shape, remark = pixel_shape(self.stream.sample_aspect_ratio)
        self._remarks = [remark] if remark else []
        self._first_shape = self.stream.codec_context.sample_aspect_ratio
        stored = self.stream.codec_context
        if (count := len(self._picture_streams())) > 1:
            size = f"{stored.width} × {stored.height} pixels"
            self._remarks.append(f"of its {count} picture streams, only the first was looked at, of {size}")
        self._edges = mp4_edges(file, self.stream.id, stored.width, stored.height) if self._is_mp4 else Edges()

    def close(self) -> None:
        if self._is_open:
            self.container.close()
            # The decoder and its threads go with the stream.
            self.stream = None
            self._packets = iter(())
            self._is_open = False

    def _rewind(self) -> None:
        """Return to the start by opening the file again: formats without an index cannot even seek to their start."""
        self.close()
        self.file.seek(0)
        try:
            self.container = av.open(
                self.file,
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
                container_options={"format_whitelist": _FORMATS, "protocol_whitelist": ""},
                io_open=_refuse,
            )
        except FAILURES as error:
            raise InputError(
                self.name, f"damaged or incomplete video; get the file again ({one_line(error)})"
            ) from error
        self._is_open = True
        self.stream = self._picture_stream()
        codec = self.stream.codec_context
        codec.thread_type = "AUTO"
        codec.thread_count = min(allowed_threads(), _MOST_THREADS)
        codec.copy_opaque = True  # so that each frame tells which packet it comes from
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.step = 1.0 / float(rate) if rate else 1.0 / _FALLBACK_RATE
        self._packets = self._demuxed()
        self._read = -1  # number of the packet that was decoded last

    def _picture_stream(self) -> Any:
        if streams := self._picture_streams():
            return streams[0]
        holds = "only sound" if self.container.streams.audio else "no picture stream that can be read"
        self.close()
        raise InputError(self.name, f"this media file holds {holds}; there is nothing to look at")

    def _picture_streams(self) -> list[Any]:
        covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        streams = (stream for stream in self.container.streams.video if stream.codec_context is not None)
        return [stream for stream in streams if stream.time_base and not stream.disposition & covers]

    def _demuxed(self) -> Iterator[tuple[int, Any]]:
        """Yield number and packet of the picture stream from where the container is; what cannot be read is skipped."""
        number = failures = 0
        while failures < _MOST_FAILURES:
            try:
                for packet in self.container.demux(self.stream):
                    if packet.is_discard and self._clock is not None and self._clock.restarts:
                        packet = _shown(packet)
                    if packet.size:
                        packet.opaque = number
                    yield number, packet
                    number += bool(packet.size)
            except FAILURES:
                failures += 1
            else:
                return

    # ── the clock ──

    def timeline(self) -> Timeline:
        if self._timeline is None:
            self._rewind()
            self._timeline = self._from_index() or self._from_packets()
            self._rewind()
        return self._timeline

    def _from_index(self) -> Timeline | None:
        """Return the timeline by the index of an MP4 file, without reading the file; ``None`` if it is not complete."""
        entries = getattr(self.stream, "index_entries", None)
        stated = self._stated_span()
        if not self._is_mp4 or stated is None or not entries or len(entries) != self.stream.frames:
            return None
        kept = [(entry.timestamp, entry.pos + entry.size) for entry in entries if not entry.is_discard]
        # A file may be cut off, or go on in fragments, which add to the index while they are read.
        if not kept or max(end for _, end in kept) > self.container.size or self._grows(len(entries)):
            return None
        times = np.unique(np.array([stamp for stamp, _ in kept], np.float64) * float(self.stream.time_base))
        return Timeline(*stated, times - times[0] + stated[0])

    def _grows(self, known: int) -> bool:
        """Return whether there is more in the file than the first ``known`` entries of its index."""
        try:
            self.container.seek(self.stream.index_entries[known - 1].timestamp, stream=self.stream)
            for _ in self.container.demux(self.stream):
                if len(self.stream.index_entries) > known:
                    return True
        except FAILURES:
            return True
        return False

    def _from_packets(self) -> Timeline:
        """Return the timeline by the time stamps of all packets, without decoding or keeping any."""
        self._rewind()
        base = self.stream.time_base
        packets = (packet for _, packet in self._packets if packet.size)
        self._clock = Clock.of(((_seconds(packet, base), packet.is_keyframe) for packet in packets), self.step)
        times = np.unique(self._clock.times)
        if not len(times):
            return Timeline(0.0, self.step, np.zeros(1))
        start, end = float(times[0]), float(times[-1]) + self.step
        stated = self._stated_span()
        # Durations are rounded, and the last frame may be shown for long.
        slack = max(0.5, 2 * self.step)
        # Flash video counts the stated length from 0.
        is_near = stated is not None and times[-1] < stated[1] <= times[-1] + slack and self.format != "flv"
        if stated is not None and is_near and times[0] <= stated[0] + slack:
            start, end = stated
        return Timeline(start, end, times)

    def end_bytes(self) -> int:
        """Return where the picture stream of a transport stream ends in the file, in bytes."""
        self._rewind()
        end = 0
        for _, packet in self._packets:
            # Units of 188 bytes hold up to 184 of a frame, of which the first ones are a header.
            end = max(end, (packet.pos or 0) + (packet.size // 184 + 2) * 188)
        self._rewind()
        return end

    def _stated_span(self) -> tuple[float, float] | None:
        """Return start and end in seconds as the header states them."""
        base = self.stream.time_base
        start = float((self.stream.start_time or 0) * base)
        if self.stream.duration:
            return start, start + float(self.stream.duration * base)
        if self.container.duration:
            return start, start + self.container.duration / av.time_base
        return None

    def is_whole(self) -> bool:
        self._rewind()
        if self.format == "avi":
            # FFmpeg corrects the length that the header states, but not the size.
            self.file.seek(0)
            stated_bytes = 8 + int.from_bytes(self.file.read(8)[4:], "little")
            self._rewind()
            return bool(self.container.size >= stated_bytes)
        if not self.container.duration or self.format not in _STATE_LENGTH:
            return True
        end = ((self.container.start_time or 0) + self.container.duration) / av.time_base
        slack = max(0.5, 2 * self.step)
        if self.timeline().end + slack >= end:
            return True
        # The stated end may be that of the sound, so packets of all streams count.
        last = 0.0
        with suppress(*FAILURES):
            self.container.seek(int(end * av.time_base))
            for packet in self.container.demux():
                if packet.size and packet.pts is not None:
                    last = max(last, float(packet.pts * packet.time_base))
        self._rewind()
        return bool(last + slack >= end)

    def left_out(self, sampled: int) -> list[str]:  # noqa: ARG002
        return self._remarks

    # ── frames ──

    def restarted(self) -> Iterator[Decoded]:
        """Yield everything that can be decoded, from the start; the file is opened again if it was closed."""
        self._rewind()
        return self._decoded()

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        frame, shape = frame
        width, height = shown_size(frame.width, frame.height, shape)
        if max(frame.width, width) * height > self.limit:
            raise InputError(self.name, f"frames of {width} × {height} pixels, more than the limit of {self.limit:,}")
        try:
            pixels = _as_rgb(frame)
        except FAILURES as error:
            raise InputError(self.name, f"frames of pixel format {frame.format.name} cannot be shown as RGB") from error
        return shown(pixels, self._edges, shape, round(frame.rotation / 90))

    def _jump(self, target: float) -> Iterator[Decoded] | None:
        if self._clock is None:
            with suppress(*FAILURES):
                self.container.seek(int(target / self.stream.time_base), stream=self.stream)
                self._packets = self._demuxed()
                frames = self._decoded()
                first = next(frames, None)
                if first is not None:
                    return chain([first], frames)
            # The index is damaged, so everything is decoded, and frames that were yielded are skipped.
            self._rewind()
            return self._decoded()
        key = self._clock.key_before(target)
        if key <= self._read:
            return None
        for number, packet in self._packets:
            if number == key:
                self.stream.codec_context.flush_buffers()
                self._packets = chain([(number, packet)], self._packets)
                return self._decoded()
        return None

    def _decoded(self) -> Iterator[Decoded]:
        last: float | None = None  # time of the last frame
        is_clean = True
        corrupt: set[int] = set()
        keys = set(self._clock.keys) if self._clock is not None else set[int]()
        for number, packet in self._packets:
            if self._clock is not None and number > self._read + 1:
                last = self._clock.times[number] - self.step  # packets were skipped
            self._read = number
            if packet.size and packet.is_corrupt:
                # Where transport streams were joined, their packet counters do not match, though nothing is missing.
                # The parser is one frame ahead, so that the mark is at the last frame of a stream or at the one before.
                packet.is_corrupt = keys.isdisjoint((number + 1, number + 2))
                if packet.is_corrupt:
                    corrupt.add(number)
            try:
                frames = packet.decode()
            except FAILURES:
                # What comes before the first frame, in a recording that starts anywhere, is not damaged.
                if packet.size and self.decoded:
                    self.decoded += 1
                    self.damaged += 1
                    is_clean = False
                continue
            for frame in frames:
                source = number if frame.opaque is None else frame.opaque
                time = None if frame.time is None else float(frame.time)
                if self._clock is not None:
                    time = self._clock.time(source, time)
                # Frames come in the order in which they are shown, whatever their time stamps say.
                if time is None or (last is not None and time <= last):
                    time = 0.0 if last is None else last + self.step
                last = time
                # Damage is carried on to the frames that build on this one, until a frame that builds on none.
                is_damaged = frame.is_corrupt or source in corrupt
                is_clean = not is_damaged and (is_clean or bool(frame.key_frame))
                self.decoded += 1
                self.damaged += not is_clean
                yield Decoded(time, (frame, self._shape_now()), is_clean)

    def _shape_now(self) -> Fraction:
        """Return the shape of the pixels of the frame that was decoded last."""
        # A stream may change from 4:3 to 16:9; until it does, what the container states comes first.
        now = self.stream.codec_context.sample_aspect_ratio
        return self._shape if now == self._first_shape else pixel_shape(now)[0]


def _shown(packet: Any) -> Any:
    """Return a packet without the mark of FFmpeg that its frame is not shown, as where the clock starts again."""
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, packet.stream
    return copy


def _seconds(packet: Any, base: Any) -> float | None:
    """Return the time stamp of a packet in seconds, if it has one."""
    stamp = packet.dts if packet.pts is None else packet.pts
    return None if stamp is None else float(stamp * base)


def _as_rgb(frame: Any) -> NDArray[np.uint8]:
    """Convert a frame to ``uint8 [h, w, 3]`` RGB in this thread; PyAV would start one for each processor."""
    try:
        frame = frame.reformat(format="rgb24", threads=1)
    except TypeError:  # older releases of PyAV convert in one thread, and have no such argument
        frame = frame.reformat(format="rgb24")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : 3 * frame.width]
    return rows.reshape(frame.height, frame.width, 3).copy()


def _refuse(url: str, *_: object) -> NoReturn:
    """Open nothing: a file that names another one is not followed."""
    raise PermissionError(f"{os.fspath(url)!r} is named by the file, and was not opened")
