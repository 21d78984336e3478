"""A store of crops is of the files as they are: what was replaced is cut again, what was only moved is not."""

import logging
import os
import shutil

import numpy as np
import pytest
from crop_stores import WHOLE, Failing, write_tiny
from layouts import tar_bytes
from PIL import Image
from tiny_run import Bright

from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.data.crops.prepare import prepare
from deepfake_core.datasets.formats.csv_table import CsvTable
from deepfake_core.datasets.formats.shards import Shards
from deepfake_core.datasets.layouts.image_folder import ImageFolder
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.data.labelled import labelled_training_data

pytestmark = pytest.mark.torch


def replaced(path, level):
    """Another picture of the same size in bytes, with the same modification time, as ``cp -p`` leaves it."""
    before = path.stat()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(path.with_name("new.bmp"))
    os.utime(path.with_name("new.bmp"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_name("new.bmp").replace(path)
    assert (before.st_size, before.st_mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def bitmaps(folder, count=4):
    for kind in ("real", "fake"):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(folder / kind / f"{number}.bmp")
    return folder


@pytest.fixture
def gathered(tmp_path):
    def gather(dataset, detector=None):
        recipe = TrainRecipe(augment="none")
        return labelled_training_data(detector or Bright(), dataset, None, recipe, tmp_path / "cache").training.store

    return gather


def levels(store):
    return {store.origin(row): int(store.read(row).mean().round()) for row in range(len(store))}


def test_training_cuts_a_replaced_picture_again(tmp_path, gathered):
    data = bitmaps(tmp_path / "data")
    assert levels(gathered(ImageFolder(data)))["real/1.bmp"] == 10
    replaced(data / "real" / "1.bmp", 250)
    store = gathered(ImageFolder(data))
    assert levels(store)["real/1.bmp"] == 250
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(data / "real" / "1.bmp")  # of another size, too
    store = gathered(ImageFolder(data))
    assert levels(store)["real/1.bmp"] == 200
    made = (store.folder / "shards" / store.shards[0]).stat().st_mtime_ns
    (data / "real" / "1.bmp").touch()
    assert (gathered(ImageFolder(data)).folder / "shards" / store.shards[0]).stat().st_mtime_ns == made


def test_two_tables_in_one_folder_and_two_of_one_name_have_caches_of_their_own(tmp_path, gathered):
    data = {name: bitmaps(tmp_path / name) for name in ("a", "b")}
    stores = []
    for folder in data.values():
        for name, first in (("x.csv", 0), ("y.csv", 2)):
            rows = [f"{kind}/{number}.bmp,{kind}" for kind in ("real", "fake") for number in (first, first + 1)]
            (folder / name).write_text("\n".join(["path,label", *rows]))
            stores.append(gathered(CsvTable(folder / name)))
    swapped = {"real": 1, "fake": 0}
    stores.append(gathered(CsvTable(data["a"] / "x.csv", labels=swapped)))
    assert len({store.folder for store in stores}) == 5
    assert levels(gathered(CsvTable(data["a"] / "y.csv"))).keys() == {
        f"{kind}/{number}.bmp" for kind in ("real", "fake") for number in (2, 3)
    }


def test_training_says_how_labels_were_read(tmp_path, gathered, caplog):
    (bitmaps(tmp_path / "data") / "t.csv").write_text(
        "path,label\nreal/0.bmp,0\nreal/1.bmp,0\nfake/0.bmp,1\nfake/1.bmp,1\n"
    )
    for _ in range(2):  # also where the store exists
        with caplog.at_level(logging.INFO, "deepfake.training"):
            store = gathered(CsvTable(tmp_path / "data" / "t.csv", labels={"1": 1, "0": 0}))
        assert store.labels == "labels: '0' → real (2), '1' → fake (2)"
        assert f"CsvTable:data: {store.labels}" in caplog.messages
        caplog.clear()


def test_another_preprocessing_has_a_cache_of_its_own(tmp_path, gathered):
    class Larger(Bright):
        preprocess = WHOLE.model_copy(update={"resize": WHOLE.resize.model_copy(update={"height": 16, "width": 16})})

    data = ImageFolder(bitmaps(tmp_path / "data"))
    assert gathered(data).folder != gathered(data, Larger()).folder


def test_the_store_of_a_user_is_refused_when_files_were_replaced(tmp_path):
    data = bitmaps(tmp_path / "data")
    prepare(ImageFolder(data), tmp_path / "store", crop="whole")
    replaced(data / "real" / "1.bmp", 250)
    with pytest.raises(TrainingDataError, match=r"files of the dataset have changed since; .*--rebuild"):
        prepare(ImageFolder(data), tmp_path / "store", crop="whole")
    store = prepare(ImageFolder(data), tmp_path / "store", crop="whole", rebuild=True)
    assert levels(store)["real/1.bmp"] == 250


def test_a_copy_of_the_dataset_has_the_same_store(tmp_path):
    store = prepare(ImageFolder(bitmaps(tmp_path / "data")), tmp_path / "store", crop="whole")
    made = (store.folder / "shards" / store.shards[0]).stat().st_mtime_ns
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere" / "data", copy_function=shutil.copyfile)
    again = prepare(ImageFolder(tmp_path / "elsewhere" / "data"), tmp_path / "store", crop="whole")
    assert (again.folder / "shards" / again.shards[0]).stat().st_mtime_ns == made


def members(pictures, mode):
    labels = zip("12", ("real", "fake"), pictures, strict=True)
    files = [{f"{key}.bmp": picture, f"{key}.cls": label.encode()} for key, label, picture in labels]
    return tar_bytes(files[0] | files[1], mode)


def test_an_archive_whose_member_was_replaced_is_noticed(tmp_path):
    pictures = [path.read_bytes() for path in sorted((bitmaps(tmp_path / "data", 3) / "real").iterdir())]
    for mode, name in (("w", "a.tar"), ("w:gz", "b.tar.gz")):
        (tmp_path / name).write_bytes(members(pictures[:2], mode))
        prepare(Shards(tmp_path / name), tmp_path / f"store {name}", crop="whole")
        (tmp_path / name).write_bytes(members(pictures[1:], mode))
        with pytest.raises(TrainingDataError, match="files of the dataset have changed since"):
            prepare(Shards(tmp_path / name), tmp_path / f"store {name}", crop="whole")


def test_an_interrupted_store_does_not_go_on_with_replaced_files(tmp_path):
    data = write_tiny(tmp_path / "data", {"real": 30, "fake": 30}, side=16)

    options = {"crop": "whole", "shard_mb": 0.02}
    with pytest.raises(TrainingDataError, match="unplugged"):
        prepare(Failing(data), tmp_path / "store", **options)
    for path in (data / "fake").iterdir():
        path.touch()  # the same content
    first = data / "fake" / "00000.png"
    whole = first.read_bytes()
    first.write_bytes((data / "fake" / "00001.png").read_bytes())
    with pytest.raises(TrainingDataError, match="files of the dataset have changed since this store was begun"):
        prepare(ImageFolder(data), tmp_path / "store", **options)
    first.write_bytes(whole)
    assert len(prepare(ImageFolder(data), tmp_path / "store", **options)) == 60
