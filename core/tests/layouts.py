"""Miniature copies of every dataset layout, with pictures whose brightness tells their class."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from media import encoded, grey_frames, video_bytes

LEVELS = {"real": 60, "fake": 200}


def picture(kind: str, seed: int = 0, format: str = "PNG") -> bytes:
    """A picture of 24×16 pixels: dark when real, bright when fake, different for every seed."""
    noise = np.random.default_rng(seed).integers(-20, 20, (16, 24, 3))
    return encoded((LEVELS[kind] + noise).astype(np.uint8), format)


def video(kind: str) -> bytes:
    """A video of 6 frames, dark when real, bright when fake."""
    level = LEVELS[kind] - 110 // 2
    return video_bytes([np.full((48, 64, 3), level + frame.mean() / 4, np.uint8) for frame in grey_frames(6)])


def write(root: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def tar_bytes(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def image_folder(root: Path) -> str:
    files = {f"{kind}/{n}.png": picture(kind, n) for n in range(2) for kind in LEVELS}
    write(root, files | {"real/Deepfakes_001_1/1.png": picture("real", 9)})
    return f"image-folder:{root}"


def frame_folders(root: Path) -> str:
    write(root, {f"{kind}/7/{n}.jpg": picture(kind, n, "JPEG") for n in (1, 2, 10) for kind in LEVELS})
    return f"frame-folders:{root}"


def csv_file(root: Path) -> str:
    write(root, {f"pictures/{kind}{n}.png": picture(kind, n) for n in range(2) for kind in LEVELS})
    rows = [f"{kind},pictures/{kind}{n}.png,{n}" for n in range(2) for kind in LEVELS]
    write(root, {"all.csv": "\n".join(["label,path,extra", *rows])})
    return f"csv:{root / 'all.csv'}"


def video_pairs(root: Path) -> str:
    write(root, {f"real/{name}/{n}.jpg": picture("real", n, "JPEG") for name in "ab" for n in (9, 10)})
    write(root, {f"fake/{name}/1.jpg": picture("fake", 1, "JPEG") for name in ("a1", "a2")})
    write(root, {"fake/b1.mp4": video("fake"), "pairs.csv": "real,fake,score\na,a1,1\nreal/a,fake/a2,2\nb,b1.mp4,3\n"})
    return f"video-pairs:{root / 'pairs.csv'}"


def kaggle(root: Path, inner: str = "real_vs_fake/real-vs-fake") -> str:
    for split, number in {"train": 1, "valid": 2, "test": 3}.items():
        write(root / inner, {f"{split}/{kind}/{number}.jpg": picture(kind, number, "JPEG") for kind in LEVELS})
        head = ",original_path,id,label,label_str,path\n"
        rows = [
            f"0,/kaggle/input/x/{number}.jpg,{number},{int(kind == 'real')},{kind},{split}/{kind}/{number}.jpg\n"
            for kind in LEVELS
        ]
        write(root, {f"{split}.csv": head + "".join(rows)})
    return f"kaggle-140k:{root}"


def wilddeepfake(root: Path) -> str:
    for kind in LEVELS:
        for split in ("train", "test"):
            for number in (2, 10):
                # Out of order, as archives are.
                members = {
                    f"./{number}/{kind}/{sequence}/{frame}.png": picture(kind, 100 * number + 10 * sequence + frame)
                    for sequence in (1, 0)
                    for frame in (2, 0, 11)
                }
                archive = tar_bytes(members, "w:gz")
                write(root, {f"deepfake_in_the_wild/{kind}_{split}/{number}.tar.gz": archive})
    return f"wilddeepfake:{root}"


def celeb_df(root: Path) -> str:
    real, fake = video("real"), video("fake")
    write(root, {f"Celeb-real/{name}.mp4": real for name in ("id0_0000", "id1_0000")})
    write(root, {"YouTube-real/00001.mp4": real, "Celeb-synthesis/id0_id1_0000.mp4": fake})
    write(root, {"List_of_testing_videos.txt": "1 YouTube-real/00001.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n"})
    return f"celeb-df-v2:{root}"


def faceforensics(root: Path) -> str:
    real, fake = video("real"), video("fake")
    write(root / "original_sequences/youtube/c23/videos", {f"{n:03}.mp4": real for n in range(4)})
    for name in ("Deepfakes", "FaceSwap"):
        write(root / f"manipulated_sequences/{name}/c23/videos", {"000_001.mp4": fake, "002_003.mp4": fake})
    write(root / "manipulated_sequences/Deepfakes/raw/videos", {"000_001.mp4": fake})
    splits = {"train": [["000", "001"]], "val": [["002", "003"]], "test": [["004", "005"]]}
    write(root / "splits", {f"{name}.json": json.dumps(pairs) for name, pairs in splits.items()})
    return f"faceforensics:{root}"


def dfdc(root: Path) -> str:
    for part in range(2):
        entries = {
            f"a{part}.mp4": {"label": "REAL", "split": "train"},
            f"b{part}.mp4": {"label": "FAKE", "split": "train", "original": f"a{part}.mp4"},
            f"c{part}.mp4": {"label": "FAKE", "split": "train", "original": None},
        }
        files = {name: video(str(entry["label"]).lower()) for name, entry in entries.items()}
        write(root / f"dfdc_train_part_{part}", files | {"metadata.json": json.dumps(entries)})
    return f"dfdc:{root}"


def shards(root: Path) -> str:
    for number, mode in enumerate(("w", "w:gz")):
        members = {}
        for kind in LEVELS:
            key = f"{kind}/{number:04}"
            members |= {f"{key}.png": picture(kind, number), f"{key}.cls": str(int(kind == "fake")).encode()}
        write(root, {f"{number}.tar{'.gz' if mode == 'w:gz' else ''}": tar_bytes(members, mode)})
    return f"shards:{root}?labels=0:real,1:fake"


def parquet(root: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir(parents=True)
    kinds = ["real", "fake"] * 4
    cells = [{"bytes": picture(kind, row), "path": None} for row, kind in enumerate(kinds)]
    table = pa.table({"image": cells, "label": kinds, "group": [f"g{row // 2}" for row in range(8)]})
    pq.write_table(table, root / "a.parquet", row_group_size=3)
    return f"parquet:{root}"


def hugging_face(root: Path) -> str:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["Fake", "Real"])})
    parts = {}
    for split, count in {"train": 4, "validation": 2}.items():
        kinds = ["fake", "real"] * (count // 2)
        cells = [{"bytes": picture(kind, row), "path": None} for row, kind in enumerate(kinds)]
        columns = {"image": cells, "label": [int(kind == "real") for kind in kinds]}
        parts[split] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(parts).save_to_disk(root)
    return f"hf:{root}"


def sample(root: Path) -> str:
    return f"sample:{root}"


LAYOUTS: Mapping[str, Callable[[Path], str]] = {
    "image-folder": image_folder,
    "frame-folders": frame_folders,
    "csv": csv_file,
    "video-pairs": video_pairs,
    "kaggle-140k": kaggle,
    "wilddeepfake": wilddeepfake,
    "celeb-df-v2": celeb_df,
    "faceforensics": faceforensics,
    "dfdc": dfdc,
    "shards": shards,
    "parquet": parquet,
    "hf": hugging_face,
    "sample": sample,
}
"""Name of the layout → a function that writes a miniature below a folder and returns its address."""

NEEDS = {"parquet": "pyarrow", "hf": "datasets"}
"""Optional libraries, by layout."""
