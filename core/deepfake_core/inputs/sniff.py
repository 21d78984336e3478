"""Recognise the format of a file by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

HEAD_BYTES = 4096
"""Number of bytes from which a format is recognised."""


class Kind(NamedTuple):
    """Kind of a file, as its first bytes tell it.

    Attributes:
        family: Family of formats, which decides how the file is read; of an ``"unknown"`` one, only the decoder of
            videos can tell whether it is a video.
        name: Name of the format for messages, with an article where it needs one: ``"JPEG"``, ``"an HTML page"``.
    """

    family: Literal["picture", "heif", "video", "unknown", "other"]
    name: str

    @property
    def pillow(self) -> str:
        """Pillow's name for the format of an image."""
        return "HEIF" if self.family == "heif" else self.name.upper()


_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", Kind("picture", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Kind("picture", "PNG")),
    (b"GIF87a", Kind("picture", "GIF")),
    (b"GIF89a", Kind("picture", "GIF")),
    (b"BM", Kind("picture", "BMP")),
    (b"II*\x00", Kind("picture", "TIFF")),
    (b"MM\x00*", Kind("picture", "TIFF")),
    (b"II+\x00", Kind("picture", "TIFF")),
    (b"MM\x00+", Kind("picture", "TIFF")),
    (b"\x1a\x45\xdf\xa3", Kind("video", "Matroska/WebM")),
    (b"FLV\x01", Kind("video", "Flash video")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("video", "Windows Media")),
    (b"\x00\x00\x01\xba", Kind("video", "MPEG programme stream")),
    (b"\x00\x00\x01\xb3", Kind("video", "MPEG video")),
    (b"\x00\x00\x00\x01\x67", Kind("video", "raw H.264")),
    (b"\x00\x00\x00\x01\x40\x01", Kind("video", "raw H.265")),
    (b"DKIF", Kind("video", "IVF")),
    (b"OggS", Kind("video", "Ogg")),
    (b"YUV4MPEG2", Kind("video", "YUV4MPEG")),
    (b"ID3", Kind("unknown", "an audio file (MP3)")),  # tags may also come before a transport stream
    (b"\xff\xfb", Kind("other", "an audio file (MP3)")),
    (b"fLaC", Kind("other", "an audio file (FLAC)")),
    (b"%PDF", Kind("other", "a PDF document")),
    (b"PK\x03\x04", Kind("other", "a ZIP archive or an office document")),
    (b"\x1f\x8b", Kind("other", "a gzip archive")),
    (b"7z\xbc\xaf\x27\x1c", Kind("other", "a 7z archive")),
    (b"Rar!", Kind("other", "a RAR archive")),
    (b"8BPS", Kind("other", "a Photoshop document; convert it to PNG")),
    (b"\x00\x00\x00\x0cjP  ", Kind("other", "a JPEG 2000 picture; convert it to PNG")),
    (b"\xff\x0a", Kind("other", "a JPEG XL picture; convert it to PNG")),
    (b"\x00\x00\x00\x0cJXL ", Kind("other", "a JPEG XL picture; convert it to PNG")),
    (b"\x00\x00\x01\x00", Kind("other", "an icon (ICO); convert it to PNG")),
    (b"FUJIFILMCCD-RAW", Kind("other", "a raw photograph (RAF); develop it to JPEG or TIFF")),
    (b"IIU\x00", Kind("other", "a raw photograph (RW2); develop it to JPEG or TIFF")),
    (b"IIRO", Kind("other", "a raw photograph (ORF); develop it to JPEG or TIFF")),
    (b"IIRS", Kind("other", "a raw photograph (ORF); develop it to JPEG or TIFF")),
    (b"MMOR", Kind("other", "a raw photograph (ORF); develop it to JPEG or TIFF")),
    (b"II\x1a\x00\x00\x00HEAPCCDR", Kind("other", "a raw photograph (CRW); develop it to JPEG or TIFF")),
    (b"FOVb", Kind("other", "a raw photograph (X3F); develop it to JPEG or TIFF")),
    (b"\x00MRM", Kind("other", "a raw photograph (MRW); develop it to JPEG or TIFF")),
    (b"%!PS", Kind("other", "a PostScript document")),
    (b"\x7fELF", Kind("other", "a program")),
    (b"\x93NUMPY", Kind("other", "a NumPy array (load it and pass the array)")),
    (b"version https://git-lfs", Kind("other", "a Git LFS pointer (run: git lfs pull)")),
)
_RIFF = {
    b"WEBP": Kind("picture", "WebP"),
    b"AVI ": Kind("video", "AVI"),
    b"WAVE": Kind("other", "an audio file (WAV)"),
}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# Main brands of sequences of HEIF images, which are stored as the frames of an MP4 file are.
_HEIF_SEQUENCES = frozenset({b"hevc", b"hevx", b"msf1"})
# Boxes that may come first in a QuickTime file older than the box `ftyp`.
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_UNKNOWN = Kind("unknown", "a file of an unknown format")


def sniff(head: bytes) -> Kind:
    """Return the kind of a file from its first :data:`HEAD_BYTES` bytes, or from all bytes of a shorter file."""
    if not head:
        return Kind("other", "an empty file")
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], _UNKNOWN)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] in _QUICKTIME_BOXES:
        return Kind("video", "QuickTime")
    if head[:1] == b"\x47" and head[188:189] in (b"\x47", b""):
        return Kind("video", "MPEG transport stream") if len(head) > 188 else _text(head)
    return _text(head)


def _iso_media(head: bytes) -> Kind:
    """Distinguish MP4 and QuickTime, AVIF, and HEIF by the brands that the ``ftyp`` box lists."""
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4], "big"), 256), 4))}
    if head[8:12] == b"crx ":
        return Kind("other", "a raw photograph (CR3); develop it to JPEG or TIFF")
    if head[8:12] in _HEIF_SEQUENCES:
        return Kind("video", "HEIC sequence")
    if brands & {b"avif", b"avis"}:
        return Kind("picture", "AVIF")
    if brands & _HEIF_BRANDS:
        return Kind("heif", "HEIC")
    return Kind("video", "MP4/QuickTime")


def _text(head: bytes) -> Kind:
    """Distinguish HTML, SVG, XML, JSON and plain text from unknown formats."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Kind("other", "a text file")
    try:
        # A character may be cut at the end of the head.
        text = head[: HEAD_BYTES - 4].decode("utf-8-sig", errors="strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return _UNKNOWN
    start = text.lstrip()[:512].lower()
    if re.match(r"<!doctype html|<html|<head|<body", start):
        return Kind("other", "an HTML page (a failed download?)")
    if "<svg" in start:
        return Kind("other", "an SVG drawing; convert it to PNG")
    if start.startswith("<?xml"):
        return Kind("other", "an XML document")
    if start[:1] in ("{", "["):
        return Kind("other", "a JSON document")
    if any(ord(letter) < 32 and letter not in "\t\n\r\f\x1b" for letter in text):
        return _UNKNOWN
    return Kind("other", "a text file")
