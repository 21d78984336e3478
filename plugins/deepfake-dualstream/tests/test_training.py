"""From the command line, on real sequences: train by a preset, test per video, explain, judge a folder of frames."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import deepfake_core as df
from deepfake_bench.cli import app
from deepfake_core.contract.recipe import TrainRecipe
from deepfake_core.datasets.layouts.frame_folders import FrameFolders
from deepfake_core.errors import TrainingDataError
from deepfake_core.inputs.sources import Frames
from deepfake_core.testing import draw_face
from deepfake_core.training.data.stores import SplitIdentity

pytestmark = pytest.mark.torch

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "train" / "faceforensics_sequences"

TRAIN = {
    "real": ["youtube_035_0", "youtube_147_0", "youtube_159_0", "youtube_272_0"],
    "fake": ["Deepfakes_035_036_0", "Deepfakes_055_147_0", "Deepfakes_159_175_0", "Deepfakes_272_396_0"],
}
TEST = {"real": ["youtube_644_0"], "fake": ["Deepfakes_644_657_0"]}

TINY = ["high_backbone=b0", "frames=3", "stride=1", "size=64", "low_size=32", "projection=16", "filters=[16, 8]",
        "embedding=16", "hidden=[16, 8]"]  # fmt: skip
SMALL = [part for setting in TINY for part in ("--set", f"config.{setting}")]


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    if not DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{DATA} is missing")
        pytest.skip("needs real sequences of faces")
    root = tmp_path_factory.mktemp("sequences")
    for split, kinds in (("train", TRAIN), ("test", TEST)):
        for kind, names in kinds.items():
            for name in names:
                shutil.copytree(DATA / kind / name, root / split / kind / name)
    return root


def invoke(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def run(sequences, tmp_path_factory):
    """A short run by the preset ``fast``, in a small size."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = ["--data", f"frame-folders:{sequences}/train", "--test", f"frame-folders:{sequences}/test"]
    rest = ["--smoke-run", "--set", "max_images=null", "--set", "validation_share=0.3", "--explain", "1"]
    invoke("train", "dualstream", *data, "--recipe", "fast", *rest, *SMALL, "--run-dir", folder, "--device", "cpu")
    return folder


def test_the_preset_brings_its_network(run):  # 003-14
    config = yaml.safe_load((run / "config.yaml").read_text())["config"]
    assert (config["high_backbone"], config["low_backbone"]) == ("b0", "b0")
    assert config["frames"] == 3, "what --set says goes on top"


def test_a_run_leaves_one_row_per_video_and_metrics(run):  # 003-9, 003-11, 003-12
    with (run / "predictions.csv").open() as stream:
        rows = {row["group"].rpartition("/")[2]: row for row in csv.DictReader(stream)}
    assert rows.keys() == {"youtube_644_0", "Deepfakes_644_657_0"}
    assert {row["files"] for row in rows.values()} == {"10"}
    assert rows["youtube_644_0"]["fake"] == "0"
    metrics = json.loads((run / "metrics_test.json").read_text())
    assert {"auc", "accuracy", "pr_auc", "precision", "recall", "f1"} <= metrics.keys()
    assert metrics["count"] == 2
    assert json.loads((run / "metrics.json").read_text())["test_metrics"]
    assert (run / "best.safetensors").stat().st_size
    with (run / "metrics_log.csv").open() as stream:
        columns = next(csv.reader(stream))
    assert {"loss", "val_loss", "acc", "auc", "lr", "grad_norm"} <= set(columns)


def test_predictions_are_shown_as_film_strips(run):  # 003-18
    pytest.importorskip("pytorch_grad_cam")
    (file,) = (run / "explain").glob("*.png")
    with Image.open(file) as strip:
        assert strip.width > strip.height


def test_no_person_is_on_both_sides_of_the_split(sequences):  # 003-8, resolution 7
    samples = list(FrameFolders(sequences / "train"))
    by_video = {sample.group.rpartition("/")[2]: sample for sample in samples}
    assert len(by_video) == 8
    swap, real = by_video["Deepfakes_055_147_0"], by_video["youtube_147_0"]
    assert set(real.identities) < set(swap.identities)
    with pytest.raises(TrainingDataError, match="share 1 persons"):
        SplitIdentity.of([swap]).check_disjoint(SplitIdentity.of([real]), "training and validation", TrainRecipe())


def test_a_folder_of_frames_is_scored_frame_by_frame(run, sequences):  # 003-12
    folder = sequences / "test" / "fake" / "Deepfakes_644_657_0"
    (result,) = json.loads(invoke("predict", folder, "--detector", run / "model", "--format", "json"))
    assert result["source"] == str(folder)
    assert result["verdict"] in {"real", "fake", "unsure"}
    (first, *others) = result["faces"]
    assert len(first["frames"]) == 3
    assert all(0 <= frame["p_fake"] <= 1 and len(frame["box"]) == 4 for frame in first["frames"])
    assert first["frames"][-1]["p_fake"] == pytest.approx(first["p_fake"])
    assert len(others) + 1 == 3, "three clips of three frames fit into ten"
    folders = json.loads(invoke("predict", sequences / "test", "--detector", run / "model", "--format", "json"))
    assert [Path(one["source"]).name for one in folders] == ["Deepfakes_644_657_0", "youtube_644_0"]
    assert folders[0]["p_fake"] == pytest.approx(result["p_fake"])


def test_short_videos_pictures_and_videos_without_faces(run):
    detector = df.load(run / "model")
    assert detector.predict(draw_face(0)).verdict in {"real", "fake", "unsure"}
    short = detector.predict(Frames([draw_face(0)] * 2))
    assert len(short.faces[0].frames) == 2
    assert detector.predict(Frames([draw_face(0)[:40, :40]] * 5)).verdict == "no_face"


def test_recipes_that_do_not_fit_are_refused(sequences, tmp_path):
    def refused(*arguments):
        data = ["--data", f"frame-folders:{sequences}/train", "--run-dir", tmp_path / "run", "--device", "cpu"]
        done = CliRunner().invoke(app, [str(one) for one in ("train", *data, *SMALL, *arguments)])
        assert done.exit_code == 2
        return " ".join(done.output.split())

    assert "takes clips, but the recipe has samples='pictures'" in refused("dualstream", "--recipe", "two-phase")
    assert "--set config: frames: " in refused("dualstream", "--set", "config.frames=0")
