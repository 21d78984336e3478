"""WildDeepfake's archives and WebDataset shards."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from layouts import LEVELS, picture, shards, tar_bytes, wilddeepfake, write

from deepfake_core.datasets.archives import members, read_member
from deepfake_core.datasets.formats.shards import Shards
from deepfake_core.datasets.layouts.wilddeepfake import WildDeepfake
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.decode import decode


def test_wilddeepfake_groups_by_sequence(tmp_path: Path) -> None:  # 004-16
    wilddeepfake(tmp_path)
    samples = list(WildDeepfake(tmp_path))
    assert len(samples) == 4 * 2 * 6
    first = samples[0]
    assert (first.is_fake, first.split, first.group, first.member, first.frame) == (
        1,
        "test",
        "wilddeepfake/fake_test/2/1",
        "./2/fake/1/2.png",
        2,
    )
    assert {(s.is_fake, s.split) for s in samples} == {(0, "train"), (0, "test"), (1, "train"), (1, "test")}
    assert len({s.group for s in samples}) == 4 * 2 * 2
    assert {s.identities for s in samples if s.group.startswith("wilddeepfake/fake_test/2/")} == {
        ("wilddeepfake/fake_test/2",)
    }, "sequences of one archive stay together"
    assert list(WildDeepfake(tmp_path / "deepfake_in_the_wild")) == samples


def test_wilddeepfake_streams_each_archive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # 004-7, 13
    wilddeepfake(tmp_path)
    opened: list[str] = []
    real_open = Path.open

    def counting(path: Path, *arguments: object, **options: object) -> object:
        opened.append(path.name)
        return real_open(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counting)
    count = sum(1 for _ in WildDeepfake(tmp_path).stream())
    assert count == 48
    assert len(opened) == 8


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("./1/real/0/0.png", "is 'real' in a folder 'fake_train'"),
        ("./1/other/0/0.png", "is 'other' in a folder"),
        ("0.png", "expected archive/class/sequence/frame"),
        ("../1/fake/0/0.png", "expected archive/class/sequence/frame"),
    ],
)
def test_wilddeepfake_members_that_do_not_belong(tmp_path: Path, member: str, message: str) -> None:
    write(tmp_path, {"fake_train/1.tar.gz": tar_bytes({member: picture("fake")}, "w:gz")})
    with pytest.raises(TrainingDataError, match=message) as caught:
        list(WildDeepfake(tmp_path))
    assert f"1.tar.gz: member {member!r}" in str(caught.value)


def test_wilddeepfake_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, {"fake_train/1.tar.gz": tar_bytes({"notes.txt": b"x"}, "w:gz")})
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(TrainingDataError, match=r"no archives deepfake_in_the_wild/\{real,fake\}_\{train,test\}"):
            list(WildDeepfake(root))


def test_wilddeepfake_by_url(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    wilddeepfake(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "deepfake_in_the_wild"), "/hub/WildDeepfake/deepfake_in_the_wild", recursive=True)
    remote = open_dataset("wilddeepfake:memory://hub/WildDeepfake")
    local = WildDeepfake(tmp_path)
    streamed = list(remote.stream())
    assert [(s.is_fake, s.split, s.group, s.member) for s, _ in streamed] == [
        (s.is_fake, s.split, s.group, s.member) for s in local
    ]
    assert [content for _, content in streamed] == [content for _, content in local.stream()]
    assert remote.read(streamed[5][0]) == streamed[5][1]


def cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9])
def test_truncated_archive_is_an_error_that_names_it(tmp_path: Path, mode: str, share: float) -> None:
    # Enough of them that the padding at the end is a small part.
    noise = {f"{number}.png": picture("real", number) for number in range(80)}
    (tmp_path / "whole").write_bytes(tar_bytes(noise, mode))
    assert [member.name for member in members(tmp_path / "whole")] == list(noise)
    (tmp_path / "cut").write_bytes(cut(tar_bytes(noise, mode), share))
    with pytest.raises(TrainingDataError, match="cut: the archive is damaged or incomplete"):
        [member.read() for member in members(tmp_path / "cut")]


def test_archive_cut_between_two_members(tmp_path: Path) -> None:
    content = tar_bytes({f"{n}.png": b"x" * 512 for n in range(3)})
    (tmp_path / "a.tar").write_bytes(content[: 2 * 1024])
    with pytest.raises(TrainingDataError, match=r"a.tar: the archive is damaged or incomplete \(its end is missing"):
        list(members(tmp_path / "a.tar"))


def test_damaged_archive(tmp_path: Path) -> None:
    content = bytearray(tar_bytes({f"{n}.png": picture("real", n) for n in range(20)}, "w:gz"))
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(TrainingDataError, match=r"a.tar.gz: the archive is damaged"):
        [member.read() for member in members(tmp_path / "a.tar.gz")]
    header = tarfile.TarInfo("a.png").tobuf()
    for size in (b"\xff" * 11 + b"\x00", b"\x80" + b"\x7f" * 11):  # negative, and more than there can be
        changed = bytearray(header[:124] + size + header[136:])
        changed[148:156] = b"%06o\0 " % (sum(changed[:148]) + sum(changed[156:512]) + 8 * 32)
        (tmp_path / "size.tar.gz").write_bytes(gzip.compress(changed + bytes(2048)))
        with pytest.raises(TrainingDataError, match=r"size.tar.gz: the archive is damaged"):
            [member.read() for member in members(tmp_path / "size.tar.gz")]
    (tmp_path / "b.tar").write_bytes(b"no archive at all" * 99)
    with pytest.raises(TrainingDataError, match=r"b.tar: the archive is damaged"):
        list(members(tmp_path / "b.tar"))


def test_links_and_folders_in_archives_are_passed_over(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"x{kind.decode()}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        entry = tarfile.TarInfo("a.png")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    assert [(member.name, member.read()) for member in members(tmp_path / "a.tar")] == [("a.png", b"abc")]
    with pytest.raises(TrainingDataError, match="has no member 'zzz'"):
        read_member(tmp_path / "a.tar", "zzz")


def test_shards_read_headers_and_labels_alone(tmp_path: Path) -> None:
    shards(tmp_path / "set")
    samples = list(open_dataset(f"shards:{tmp_path / 'set'}?labels=0:real,1:fake"))
    assert [(s.path.name, s.member, s.is_fake, s.span is None) for s in samples] == [
        ("0.tar", "real/0000.png", 0, False),
        ("0.tar", "fake/0000.png", 1, False),
        ("1.tar.gz", "real/0001.png", 0, True),
        ("1.tar.gz", "fake/0001.png", 1, True),
    ]
    offset, length = samples[1].span
    assert samples[1].path.read_bytes()[offset : offset + length] == picture("fake", 0)
    assert len({s.group for s in samples}) == 4


def test_numbers_as_labels_need_a_map(tmp_path: Path) -> None:  # resolution 1
    shards(tmp_path)
    with pytest.raises(
        TrainingDataError, match=r"0.tar: 'real/0000': label '0' is not in the label map .*labels=VALUE"
    ):
        list(Shards(tmp_path))


def test_shards_with_json(tmp_path: Path) -> None:
    facts = {
        "label": "Fake", "source": "web", "group": "g", "split": "val", "identities": ["p", "q"], "frame": 7,
        "other": None,
    }  # fmt: skip
    content = {"a.b/1.png": picture("fake"), "a.b/1.json": json.dumps(facts).encode(), "a.b/1.mask.npy": b"x"}
    content |= {"2.txt": b"real\n", "2.seg.png": b"x", "notes.md": b"x", "3.json": b'"real"', "3.jpeg": b"y"}
    write(tmp_path / "set", {"a.tar": tar_bytes(content)})
    first, second, third = Shards(tmp_path / "set")
    assert (first.is_fake, first.source, first.group, first.split, first.identities, first.frame) == (
        1,
        "web",
        "g",
        "valid",
        ("p", "q"),
        7,
    )
    assert (second.is_fake, second.group, second.source, second.frame) == (0, "set/a/2", "set", -1)
    assert (third.is_fake, third.member) == (0, "3.jpeg")
    assert decode(Shards(tmp_path / "set").read(first)).pixels.mean() > LEVELS["fake"] - 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"1.png": b"x"}, "a.tar: '1': has no label; add 1.json or 1.cls"),
        ({"1.png": b"x", "1.txt": b"a dog on a beach"}, "a.tar: '1': label 'a dog on a beach'"),
        ({"1.png": b"x", "1.json": b"{"}, "a.tar: '1': cannot be read"),
        ({"1.png": b"x", "1.json": b"{}"}, "a.tar: '1': has no label"),
        ({"1.png": b"x", "1.json": b'{"label": "real", "frame": Infinity}'}, "frame must be an integer"),
        ({"1.png": b"x", "1.cls": b"\xff"}, "a.tar: '1': cannot be read"),
        ({"1.png": b"x", "1.jpg": b"x", "1.txt": b"real"}, "a.tar: '1' has two pictures"),
        ({"1.txt": b"real"}, "a.tar: '1' has a label and no picture"),
        ({"1.txt": b"real" * (1 << 19), "1.png": b"x"}, "a.tar: '1.txt' is no label, it has 2097152 bytes"),
        ({"notes.md": b"x"}, "no pictures or videos in 1 archives"),
    ],
)
def test_bad_shards(tmp_path: Path, content: dict[str, bytes], message: str) -> None:
    write(tmp_path, {"a.tar": tar_bytes(content)})
    with pytest.raises(TrainingDataError, match=message):
        list(Shards(tmp_path))


def test_archives_of_one_name_share_no_group(tmp_path: Path) -> None:
    for split in ("train", "val"):
        facts = json.dumps({"label": "real", "split": split}).encode()
        write(tmp_path, {f"{split}/0.tar": tar_bytes({"1.png": b"x", "1.json": facts})})
    assert [s.group.partition("/")[2] for s in Shards(tmp_path)] == ["train/0/1", "val/0/1"]


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"no .tar archives"):
        list(Shards(tmp_path))
    with pytest.raises(TrainingDataError, match="absent: cannot be listed"):
        list(Shards(tmp_path / "absent"))


def test_compression_is_known_by_content_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(gzip.compress(tar_bytes({"1.png": b"x", "1.txt": b"real"})))
    (sample,) = Shards(tmp_path)
    assert sample.span is None
    assert Shards(tmp_path).read(sample) == b"x"
