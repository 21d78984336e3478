"""Find the landmarks of all faces of a store of crops, in the stored crops themselves."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deepfake_core.data.crops.face_mesh import POINTS as MESH_POINTS
from deepfake_core.data.crops.face_mesh import FaceMesh, model_file
from deepfake_core.data.crops.neighbours import most_similar
from deepfake_core.datasets.crop_store.store import INDEX, NEIGHBOURS, POINTS, RECORD, CropStore, read_record
from deepfake_core.errors import InputError, TrainingDataError
from deepfake_core.inputs.faces import FaceFinder
from deepfake_core.locks import holding
from deepfake_core.parallel import ordered_map
from deepfake_core.progress import track
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.files import atomic_path, write_atomic

_ROW = np.dtype((np.float16, (len(MESH_POINTS), 2)))
# Rows after which what was found is written to the disk: a few seconds of work.
_AT_ONCE = 256


def find_landmarks(store: CropStore, *, workers: int | None = None) -> CropStore:
    """Find the landmarks of a store's faces and the most similar faces of each, and return the store with them.

    What was found is kept when the work ends early, and the next call goes on from there. A store that has landmarks
    is returned as it is.

    Args:
        store: Complete store of face crops, in a folder.
        workers: Number of threads; by default as many as the process may use.

    Raises:
        MissingExtra: OpenVINO or the package with the face mesh is not installed.
        TrainingDataError: The store holds whole pictures, in which no face was found, or cannot be written.
    """
    if store.points is not None:
        return store
    if store.spec.crop != "face":
        raise TrainingDataError(f"{store.folder}: it holds whole pictures; prepare the dataset again with --crop face")
    model_file()
    with holding(store.folder / ".lock", "finding landmarks"):
        store = CropStore(store.folder)
        if store.points is not None:
            return store
        points = _found(store, workers or allowed_threads())
        with atomic_path(store.folder / INDEX / f"{NEIGHBOURS}.npy") as path, path.open("wb") as stream:
            np.save(stream, most_similar(points, store.sizes, store.fake, store.groups))
        partial = _partial(store)
        partial.replace(store.folder / INDEX / f"{POINTS}.npy")
        record = {**read_record(store.folder), "landmarks": store.landmarks_record()}
        write_atomic(store.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return CropStore(store.folder)


def _partial(store: CropStore) -> Path:
    """Return the file of the landmarks that were found so far, which belongs to exactly these images."""
    version = store.landmarks_record()["version"]
    return store.folder / INDEX / f"{POINTS}-{version}-{store.fingerprint[:16]}.part"


def _found(store: CropStore, workers: int) -> NDArray[np.float16]:
    """Find the landmarks of all rows, after those that an interrupted call has found; return ``float16 [N, P, 2]``."""
    path, header = _partial(store), _header(len(store))
    with path.open("r+b" if path.exists() else "w+b") as stream:
        done = _resume(stream, header)
        rows = range(done, len(store))
        tools = threading.local()
        with closing(ordered_map(lambda row: _find(store, row, tools), rows, workers=workers)) as results:
            for number, points in enumerate(track(results, "finding landmarks", total=len(rows)), 1):
                stream.write(points.astype(np.float16).tobytes())
                if number % _AT_ONCE == 0:
                    stream.flush()
        stream.flush()
        os.fsync(stream.fileno())
    return np.memmap(path, np.float16, mode="r", offset=len(header), shape=(len(store), *_ROW.shape))


def _header(rows: int) -> bytes:
    """Return the first bytes of a ``.npy`` file with the landmarks of so many rows."""
    import io

    stream = io.BytesIO()
    about: dict[str, Any] = {"descr": _ROW.base.str, "fortran_order": False, "shape": (rows, *_ROW.shape)}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def _resume(stream: BinaryIO, header: bytes) -> int:
    """Set a file to the end of the last whole row, and return the number of its rows."""
    size = stream.seek(0, os.SEEK_END)
    done = max(0, size - len(header)) // _ROW.itemsize
    if not done:
        stream.seek(0)
        stream.write(header)
    stream.truncate(len(header) + done * _ROW.itemsize) if done else stream.truncate(len(header))
    stream.seek(0, os.SEEK_END)
    return done


def _find(store: CropStore, row: int, tools: threading.local) -> NDArray[np.float32]:
    """Return the landmarks of one row as shares of the image's sides, ``float32 [P, 2]``; NaN where there are none."""
    if not hasattr(tools, "mesh"):
        tools.mesh, tools.finder = FaceMesh(), FaceFinder()
    missing = np.full(_ROW.shape, np.nan, np.float32)
    box = store.box(row)
    if box is None:
        return missing
    try:
        pixels = store.read(row)
    except InputError:
        return missing
    faces = tools.finder.find(pixels)
    if not faces:
        return missing
    points = tools.mesh.find(pixels, max(faces, key=lambda face: face.box.width * face.box.height))
    return points / np.array(pixels.shape[1::-1], np.float32)
