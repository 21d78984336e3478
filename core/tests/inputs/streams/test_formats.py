"""Tests of which files are videos: the decoder decides, and no file that names others is followed."""

import struct

import pytest
from media import grey_frames, sound_bytes, video_bytes

from deepfake_core.errors import InputError
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import VIDEO_SUFFIXES, expand
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import sample_frames
from deepfake_registry.manifest import Normalize, PreprocessSpec, Resize, WholeImage

WHOLE = PreprocessSpec(
    crop=WholeImage(), resize=Resize(height=8, width=8), normalize=Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
)


def made(format="mp4", codec="libx264", **options):
    return video_bytes(grey_frames(12), format=format, codec=codec, rate=25, **options)


def a_segment():
    """A segment of DASH: it begins with the box ``styp`` rather than ``ftyp``."""
    data = made(movflags="dash+frag_keyframe+empty_moov")
    return struct.pack(">I4s4sI4s", 20, b"styp", b"msdh", 0, b"msdh") + data


def id3(data):
    return b"ID3\x04\x00\x00\x00\x00\x00\x3f" + bytes(63) + data


FORMATS = {
    "m2ts": lambda: made("mpegts", mpegts_m2ts_mode="1"),
    "h264 with delimiters": lambda: made("h264", tune={"x264-params": "aud=1"}),
    "h264 with short start codes": lambda: made("h264", tune={"x264-params": "aud=1"})[1:],
    "hevc with delimiters": lambda: made("hevc", "libx265", tune={"x265-params": "aud=1:log-level=none"}),
    "mxf": lambda: made("mxf", "mpeg2video"),
    "nut": lambda: made("nut"),
    "rm": lambda: made("rm", "rv20"),
    "vob": lambda: made("vob", "mpeg2video"),
    "wtv": lambda: made("wtv", "mpeg2video"),
    "m4v": lambda: made("m4v", "mpeg4"),
    "dash": a_segment,
    "id3": lambda: id3(made("mpegts")),
    "ts after a broken packet": lambda: bytes(range(100, 171)) + made("mpegts"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_decoder_decides_what_a_video_is(name):
    data = FORMATS[name]()
    assert is_video(data)
    prepared = Preparer(WHOLE, frames=4).prepare(data)
    assert (prepared.mode, prepared.frames, prepared.error) == ("video", 4, "")


def test_sequences_of_heif_images_are_videos():
    data = made(codec="libx265", tune={"x265-params": "log-level=none"})
    sequence = data.replace(b"ftypisom", b"ftyphevc", 1).replace(b"vide\0\0\0\0", b"pict\0\0\0\0", 1)
    assert sequence != data
    assert is_video(sequence)
    assert len(list(sample_frames(sequence, 4))) == 4


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim.mp4"
    path.write_bytes(made())
    (tmp_path / "victim.ts").write_bytes(made("mpegts"))
    return path


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{folder}/victim.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{folder}/victim.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{folder}/victim.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "metadata": ";FFMETADATA1\ntitle=x\n",
    "asx": "<asx version='3.0'><entry><ref href='{folder}/victim.mp4'/></entry></asx>",
    "ram": "file://{folder}/victim.mp4\n",
    "smooth": '<?xml version="1.0"?><SmoothStreamingMedia/>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
}


@pytest.mark.parametrize("hidden", ["", "\x00\x01\x02", "\xff\xfe"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_files_that_name_other_files_are_not_followed(name, hidden, victim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "list.mp4"
    # What follows makes it look like no text.
    path.write_bytes(PLAYLISTS[name].format(folder=tmp_path).encode() + hidden.encode("latin-1") * 40)
    assert not is_video(path)
    with pytest.raises(InputError, match="not a video"):
        list(sample_frames(path))
    assert is_video(victim)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!doctype html><title>404</title>", "an HTML page"),
        (b"hello", "a text file"),
        (b"fLaC" + bytes(60), "an audio file (FLAC)"),
        (id3(bytes(600)), "an audio file (MP3)"),
        (id3(sound_bytes("mp3", "libmp3lame")), "an audio file (MP3)"),
        (bytes(range(128, 256)) * 20, "an unknown format"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
    ],
    ids=["html", "text", "flac", "id3", "mp3", "noise", "zip"],
)
def test_what_is_no_video_keeps_its_name(data, words):
    assert not is_video(data)
    with pytest.raises(InputError) as caught:
        decode(data)
    assert words in str(caught.value)
    assert words in Preparer(WHOLE).prepare(data).error


def test_videos_are_found_in_folders_by_more_names(tmp_path):
    names = ["a.MTS", "b.mxf", "c.vob", "d.rmvb", "e.dv", "f.mod", "g.tod", "h.dav", "i.m2v", "j.ogv", "k.hevc"]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).write_bytes(b"x")
    assert [source.name.rpartition("/")[2] for source in expand(tmp_path)] == names
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in VIDEO_SUFFIXES)
