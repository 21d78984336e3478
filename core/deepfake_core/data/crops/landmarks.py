"""Find the landmarks of all faces of a store of crops, in the stored crops themselves."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops.face_mesh import POINTS as MESH_POINTS
from deepfake_core.data.crops.face_mesh import FaceMesh, model_file
from deepfake_core.data.crops.neighbours import write_neighbours
from deepfake_core.datasets.crop_store.store import INDEX, NEIGHBOURS, POINTS, RECORD, CropStore, read_record
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.locks import holding
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import atomic_path, write_atomic

log = logging.getLogger("deepfake.training")

_SHAPE = (len(MESH_POINTS), 2)
_ROW_BYTES = np.dtype((np.float16, _SHAPE)).itemsize
# Rows after which what was found is written to the file: about a second of work.
_AT_ONCE = 128
# Overlap (intersection over union) with the stored box from which on a face that is found again is the same one.
_SAME_FACE = 0.4


def find_landmarks(store: CropStore, *, workers: int | None = None) -> CropStore:
    """Find the landmarks of a store's faces and the most similar faces of each, and return the store with them.

    What was found is kept when the work ends early, and the next call goes on from there. A store that has landmarks
    is returned as it is.

    Args:
        store: Complete store of face crops, in a folder.
        workers: Number of threads; by default as many as the process may use.

    Raises:
        MissingExtra: OpenVINO or the package with the face mesh is not installed.
        TrainingDataError: The store holds whole pictures, of which no face is known; or its folder cannot be written.
    """
    if store.points is not None:
        return store
    if store.spec.crop != "face":
        raise TrainingDataError(
            f"{store.folder}: it holds whole pictures without boxes, and landmarks are found in face crops; prepare "
            "the dataset again with crop='face'"
        )
    if store.folder.is_file():
        raise TrainingDataError(
            f"{store.folder}: a pack is never changed; find the landmarks in the store that it was made of, by dfbench "
            "data prepare crops:STORE --landmarks, and pack that again"
        )
    model_file()
    with holding(store.folder / ".lock", "a store of face crops"):
        store = CropStore(store.folder)
        if store.points is None:
            index = store.folder / INDEX
            threads = workers or allowed_threads()
            found = _find_all(store, threads)
            points = np.load(found, mmap_mode="r")
            with atomic_path(index / f"{NEIGHBOURS}.npy") as path:
                write_neighbours(path, points, store.sizes, store.fake, store.groups, workers=threads)
            found.replace(index / f"{POINTS}.npy")
            record = {**read_record(store.folder), "landmarks": store.landmarks_record()}
            write_atomic(store.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return CropStore(store.folder)


def check_landmarks(crop: str) -> None:
    """Refuse to find landmarks where that is impossible, before any work.

    Args:
        crop: What the store holds, as :attr:`StoreSpec.crop` says.

    Raises:
        MissingExtra: OpenVINO or the package with the face mesh is not installed.
        TrainingDataError: The store holds whole pictures.
    """
    if crop != "face":
        raise TrainingDataError("landmarks are found in face crops, not in whole pictures; prepare with --crop face")
    model_file()


def _find_all(store: CropStore, workers: int) -> Path:
    """Find the landmarks of the rows that have none yet; return the ``.npy`` file of all, ``float16 [N, P, 2]``.

    The rows are appended to the file, whose name tells the images, so that no other store goes on from it.
    """
    begun = f"{POINTS}-{store.landmarks_record()['version']}-{store.fingerprint[:16]}.part"
    path = store.folder / INDEX / begun
    for outdated in path.parent.glob(f"{POINTS}-*.part"):
        if outdated != path:
            outdated.unlink()
    tools, damaged, missing = threading.local(), 0, 0
    try:
        with path.open("r+b" if path.exists() else "w+b") as stream:
            rows = range(_resume(stream, len(store)), len(store))
            work = closing(ordered_map(lambda row: _find(store, row, tools), rows, workers=workers))
            with work as results:
                for number, points in enumerate(track(results, "finding landmarks", total=len(rows), unit="faces"), 1):
                    damaged += points is None
                    found = np.full(_SHAPE, np.nan, np.float16) if points is None else points
                    missing += bool(np.isnan(found[0, 0]))
                    stream.write(found.tobytes())
                    if number % _AT_ONCE == 0:
                        stream.flush()
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise TrainingDataError(
            f"{path}: cannot be written ({error.strerror}); what was found is kept: free space or allow writing, and "
            "run the command again"
        ) from error
    if damaged:
        log.warning("%s: %d stored crops are damaged and get no landmarks", store.folder, damaged)
    log.info("%s: landmarks found in %d of %d faces", store.folder, len(rows) - missing, len(rows))
    return path


def _resume(stream: BinaryIO, rows: int) -> int:
    """Cut a file of landmarks after its last whole row, and return the number of rows in it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f2", "fortran_order": False, "shape": (rows, *_SHAPE)})
    start = header.tell()
    done = max(0, (stream.seek(0, os.SEEK_END) - start) // _ROW_BYTES)
    stream.truncate(start + done * _ROW_BYTES if done else 0)
    stream.seek(0)
    stream.write(header.getvalue())
    stream.seek(0, os.SEEK_END)
    return done


def _find(store: CropStore, row: int, tools: threading.local) -> NDArray[np.float16] | None:
    """Return the landmarks of a row as shares of the image's sides, ``float16 [P, 2]``; NaN if it shows no face.

    ``None`` stands for a damaged image.
    """
    if not hasattr(tools, "mesh"):
        tools.mesh, tools.finder = FaceMesh(), FaceFinder()
    try:
        pixels = store.read(row)
        box = store.box(row)
        assert box is not None, "a store of face crops has a box for each row"
        face = Face(box, 1.0, _eyes(tools.finder.find(pixels), box))
        points = tools.mesh.find(pixels, face) / np.array(pixels.shape[1::-1], np.float32)
    except (InputError, cv2.error):
        return None
    return np.asarray(points, np.float16)


def _eyes(faces: list[Face], box: Box) -> tuple[tuple[float, float], ...]:
    """Return the right and the left eye of the face in a box: those that were found, or else level ones.

    The stored box and the eyes of the same face give landmarks that are closer to those in the original picture
    (0.4 % of the face's side on average) than the box that is found in the crop does (0.8 %).
    """
    same = max(faces, key=lambda face: _overlap(face.box, box), default=None)
    if same is not None and _overlap(same.box, box) >= _SAME_FACE:
        return same.landmarks[:2]
    height = box.y + 0.4 * box.height
    return (box.x + 0.3 * box.width, height), (box.x + 0.7 * box.width, height)


def _overlap(first: Box, second: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    both = max(width, 0.0) * max(height, 0.0)
    return both / (first.width * first.height + second.width * second.height - both)
