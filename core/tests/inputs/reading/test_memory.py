"""Inputs that web frameworks, object stores and other libraries hand over."""

from __future__ import annotations

import io
import tempfile
import zipfile
from array import array as numbers
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from media import PORTRAIT, blocks, encoded
from PIL import Image

from deepfake_core.errors import InputError
from deepfake_core.inputs import decode as module
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.reading import memory
from deepfake_core.inputs.sources import Frames, expand, is_one_input

PICTURE = blocks()
PNG = encoded(PICTURE, "PNG")


def only(inputs, **options):
    """The single source of one input, as ``predict`` sees it."""
    (source,) = expand(inputs, **options)
    assert is_one_input(inputs, [source], **options)
    return source


class Upload:
    """An upload as of Starlette and FastAPI: its own methods are asynchronous."""

    def __init__(self, content=PNG):
        self.filename = "portrait.png"
        self.file = io.BytesIO(content)

    async def read(self, size=-1):
        return self.file.read(size)


class FormFile(io.BytesIO):
    """An upload as of Flask: ``name`` is the field of the form."""

    name = "picture"
    filename = "portrait.png"


class Trickle:
    """A pipe: each call gives what has come, whatever was asked for."""

    def __init__(self, content):
        self.parts = [content[start : start + 500] for start in range(0, len(content), 500)]

    def read(self, size):
        return self.parts.pop(0) if self.parts else b""


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (lambda: io.BytesIO(PNG), "<file>"),
        (lambda: io.BufferedReader(io.BytesIO(PNG)), "<file>"),
        (Upload, "portrait.png"),
        (lambda: FormFile(PNG), "portrait.png"),
        (lambda: Trickle(PNG), "<file>"),
        (lambda: bytearray(PNG), "<bytes>"),
        (lambda: memoryview(PNG), "<bytes>"),
        (lambda: io.BytesIO(PNG).getbuffer(), "<bytes>"),
    ],
)
def test_bytes_in_any_form_are_one_input(source, name):
    found = only(source())
    assert (found.name, found.data) == (name, PNG)
    assert [one.name for one in expand([source(), source()])] == [name] * 2
    assert np.array_equal(decode(source()).pixels, PICTURE)


def test_a_temporary_file_and_one_in_an_archive(tmp_path):
    with tempfile.SpooledTemporaryFile() as file:
        file.write(PNG)
        file.seek(0)
        assert only(file).data == PNG
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/a.png", PNG)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("in/a.png") as file:
        assert only(file).data == PNG


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda: io.StringIO("photo.jpg\n"), "StringIO is open as text"),
        (lambda: type("Odd", (), {"read": lambda self, size: "text"})(), "Odd is open as text"),
        (lambda: type("Later", (), {"read": Upload.read})(), "asynchronous; pass the bytes, as from await file.read()"),
        (lambda: type("Hidden", (), {"read": staticmethod(partial(Upload().read))})(), "asynchronous; pass the bytes"),
        (lambda: memoryview(PICTURE), "pass the array itself"),
        (lambda: memoryview(numbers("d", [1.0])), "pass the array itself"),
    ],
)
def test_what_is_read_wrongly_says_what_to_do(source, words):
    with pytest.raises(InputError) as caught:
        only(source())
    assert words in str(caught.value)


def test_a_file_at_its_end_is_to_be_rewound():
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    with pytest.raises(InputError, match=r"rewind it with seek\(0\)"):
        only(file)
    file.seek(0)
    assert only(file).data == PNG
    assert only(io.BytesIO(b"")).data == b""


def test_a_file_without_an_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(memory, "MAX_BYTES", 64 << 20)
    asked = []

    class Endless:
        def read(self, size):
            asked.append(size)
            return bytes(size)

    with pytest.raises(InputError, match="more than 64 MB; save it to a file, and pass its path"):
        only(Endless())
    assert sum(asked) == (64 << 20) + asked[0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, "cannot read pictures from a dict; pass a list of its values"),
        (None, "got None, as cv2.imread returns"),
        (3, "cannot read a picture from int; pass paths"),
        ((number for number in [1]), "cannot read a picture from int"),
        (object(), "cannot read a picture from object"),
        (np.float32(1), "cannot read a picture from float32"),
        ([PNG, None], "got None"),
    ],
)
def test_what_is_no_input_is_refused_by_name(value, words):
    with pytest.raises(TypeError, match=words):
        list(expand(value))


LEVELS = PICTURE.astype(np.float32) / 255


@pytest.mark.parametrize(
    "array",
    [
        PICTURE,
        np.moveaxis(PICTURE, 2, 0),
        LEVELS,
        np.moveaxis(LEVELS, 2, 0),
        LEVELS.astype(np.float16),
        LEVELS * 1.0005 - 0.0002,  # resampling overshoots
        PICTURE.astype(np.uint16) * 257,
    ],
)
def test_arrays_with_channels_first_or_last(array):
    picture = decode(only(array).data)
    assert np.abs(picture.pixels.astype(int) - PICTURE).max() <= 1
    assert (picture.width, picture.height) == (320, 240)
    batch = list(expand(np.stack([array, array])))
    assert [one.name for one in batch] == ["<array>[0]", "<array>[1]"]
    assert np.array_equal(decode(batch[1].data).pixels, picture.pixels)


def test_one_plane_is_grey():
    for array in (PICTURE[..., 0], PICTURE[..., :1], PICTURE[..., 0][None]):
        assert np.array_equal(decode(array).pixels, np.repeat(PICTURE[..., :1], 3, axis=2))


@pytest.mark.parametrize("shape", [(4, 240, 320), (2, 240, 320), (240, 320, 5), (5,), (2, 3, 4, 240, 320), ()])
def test_a_shape_that_means_nothing_lists_those_that_do(shape):
    with pytest.raises(InputError, match=r"array of shape .*pass \[H, W\].*\[3, H, W\]"):
        decode(np.zeros(shape, np.uint8))


def test_frames_of_a_video_as_an_array():
    for shape in ((5, 24, 32, 3), (5, 3, 24, 32)):
        found = only(np.zeros(shape, np.uint8), clips=True)
        assert isinstance(found.data, Frames)
        assert len(found.data.pictures) == 5
        assert decode(found.data.pictures[0]).pixels.shape == (24, 32, 3)
        assert len(list(expand(np.zeros((2, *shape), np.uint8), clips=True))) == 2
    with pytest.raises(InputError, match=r"\[T, C, H, W\] or \[C, T, H, W\]"):
        only(np.zeros((3, 3, 24, 32), np.uint8), clips=True)


class Response:
    """A response as of requests, whose pieces must not be taken for files."""

    content, headers, status_code = PNG, {}, 200

    def __iter__(self):
        return iter([PNG[:128], PNG[128:]])


def test_a_response_names_its_content():
    with pytest.raises(TypeError, match="cannot read a picture from a Response; pass its content, which is bytes"):
        list(expand(Response()))
    with pytest.raises(InputError, match="pass its content"):
        decode(Response())


def test_an_animated_image_that_pillow_opened_says_which_frame_was_judged():
    data = encoded(Image.fromarray(PICTURE), "GIF", save_all=True, append_images=[Image.fromarray(PICTURE[::-1])])
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        picture = decode(image)
    assert picture.warnings == ("holds 2 frames: the one that it shows was judged; pass its path or bytes",)
    assert np.abs(picture.pixels.astype(int) - PICTURE[::-1]).mean() < 20
    assert decode(Image.fromarray(PICTURE)).warnings == ()


class Tensor:
    """An array of another library on another device: NumPy must not touch it before it is moved."""

    shape = (240, 320, 3)
    dtype = "uint8"

    def __init__(self, moved=False):
        self.moved = moved

    def cpu(self):
        return Tensor(moved=True)

    def __array__(self, dtype=None, copy=None):
        if not self.moved:
            raise TypeError("can't convert a device tensor to numpy")
        return PICTURE

    def __iter__(self):
        raise AssertionError("an input must not be iterated")


class Exchanged:
    """An array that only speaks DLPack."""

    shape = PICTURE.shape

    def __dlpack__(self, **options):
        return PICTURE.__dlpack__(**options)

    def __dlpack_device__(self):
        return PICTURE.__dlpack_device__()


def test_arrays_of_other_libraries_without_importing_them():
    for given in (Tensor(), Exchanged()):
        assert np.array_equal(decode(only(given).data).pixels, PICTURE)
    lost = Tensor()
    lost.cpu = None
    with pytest.raises(InputError, match=r"the values of this Tensor cannot be read .*; pass a NumPy array"):
        only(lost)


@pytest.mark.torch
def test_tensors():
    torch = pytest.importorskip("torch")
    last = torch.from_numpy(PICTURE.copy())
    first = last.permute(2, 0, 1)
    floats = first.float() / 255
    floats.requires_grad_()
    for given in (last, first, floats, floats.half(), floats.double()):
        assert np.abs(decode(only(given).data).pixels.astype(int) - PICTURE).max() <= 1
    assert np.abs(decode(only(floats.bfloat16()).data).pixels.astype(int) - PICTURE).max() <= 2
    assert [one.name for one in expand(torch.stack([floats, floats]))] == ["<array>[0]", "<array>[1]"]
    for wrong in (last.long(), floats * 255, floats * 2 - 1, last.to("meta")):
        with pytest.raises(InputError, match="array"):
            decode(wrong)


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_a_column_of_paths_is_a_list_and_a_table_is_not():
    import pandas as pd

    table = pd.DataFrame({"path": [str(PORTRAIT), "gone.jpg"]})
    for paths in (table["path"], table["path"].to_numpy(), np.array(["a.jpg", "b.jpg"])):
        assert [one.name for one in expand(paths)] == [str(path) for path in paths]
        assert not is_one_input(paths, [])
    with pytest.raises(TypeError, match="DataFrame; pass its column of paths"):
        list(expand(table))


def test_starlettes_upload():
    starlette = pytest.importorskip("starlette.datastructures")
    upload = starlette.UploadFile(io.BytesIO(PNG), filename="portrait.png")
    found = only(upload)
    assert (found.name, found.data) == ("portrait.png", PNG)
    assert module.in_memory(io.BytesIO(PNG)) == ("<file>", PNG)
