"""Ensembles of detectors that score the red, green or blue of a picture, and ensembles of two real detectors."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepfake_core import load
from deepfake_core.data.manifest import manifest_hash
from deepfake_core.datasets.opening import open_dataset
from deepfake_core.discovery.training_groups import TrainingGroups
from deepfake_core.ensemble.ensemble import MEMBERS, Ensemble
from deepfake_core.ensemble.fit import fit_weights
from deepfake_core.ensemble.runtime import CERTAIN, bounded
from deepfake_core.errors import ArtifactCorrupt, DeepfakeError, InputError, TrainingDataError
from deepfake_core.evaluation import metrics
from deepfake_core.handle.loaded import LoadedDetector, single
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_core.testing import draw_face
from deepfake_registry.manifest import (
    Calibration,
    Clip,
    FaceCrop,
    Normalize,
    PreprocessSpec,
    Resize,
    WholeImage,
    manifest_of,
)

TINY = Path(__file__).parents[3] / "benchmarks" / "tests" / "tiny.onnx"
PORTRAIT = Path(__file__).parents[3] / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"


class Channel(Runtime):
    """Runtime whose logit is the mean of one colour channel, from -4 to 4."""

    name = "channel"
    device = "cpu"

    def __init__(self, channel: int, side: int, crop: FaceCrop | WholeImage, **fields: object) -> None:
        self.channel = channel
        preprocess = PreprocessSpec(
            crop=crop,
            resize=Resize(height=side, width=side),
            normalize=Normalize(mean=(0, 0, 0), std=(1, 1, 1)),
            clip=fields.pop("clip", None),
        )
        name = f"channel{channel}"
        self.manifest = manifest_of(
            **{"name": name, "architecture": name, "weights": "trained", "preprocess": preprocess, **fields}
        )

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        return Outputs((images[..., self.channel].mean(axis=tuple(range(1, images.ndim - 1))) / 32 - 4).astype("f4"))


def member(channel: int, side: int = 16, crop: FaceCrop | WholeImage | None = None, **fields: object) -> LoadedDetector:
    return LoadedDetector(None, Channel(channel, side, crop or WholeImage(), **fields))


def coloured(folder: Path, rows: Sequence[tuple[bool, Sequence[int]]], group: int = 1) -> Path:
    """Write pictures ``real|fake/<n>.png`` of one colour each."""
    for number, (fake, colour) in enumerate(rows):
        target = folder / ("fake" if fake else "real") / f"{number:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), tuple(int(value) for value in colour)).save(target)
    return folder


def noisy(count: int, gaps: Sequence[float]) -> list[tuple[bool, Sequence[int]]]:
    """Return labels and random colours; the mean of each channel is higher by its gap for fakes."""
    rng = np.random.default_rng(0)
    fakes = [number % 2 == 1 for number in range(count)]
    return [(fake, [int(np.clip(rng.normal(128 + gap * fake, 25), 0, 255)) for gap in gaps]) for fake in fakes]


def test_the_logit_is_the_weighted_mean_of_calibrated_logits(tmp_path: Path) -> None:
    warm = Calibration(temperature=2.0, bias=-0.5)
    together = Ensemble([member(0, calibration=warm), member(1)], [3, 1])
    assert together.weights == (0.75, 0.25)
    result = together.predict(Image.new("RGB", (20, 20), (192, 64, 0)), evidence=True)
    (face,) = result.faces
    red, green = (192 / 32 - 4) / 2.0 - 0.5, 64 / 32 - 4
    assert face.logit == pytest.approx(0.75 * red + 0.25 * green, abs=1e-5)
    np.testing.assert_allclose(face.extra[MEMBERS], [red, green], atol=1e-5)
    expected = [1 / (1 + np.exp(-value)) for value in (red, green)]
    assert face.spread == pytest.approx(expected[0] - expected[1], abs=1e-5)
    assert result.to_dict()["faces"][0]["spread"] == face.spread
    assert together.predict(Image.new("RGB", (20, 20))).faces[0].extra == {}


def test_members_see_the_same_faces_cut_as_each_wants() -> None:
    narrow, wide = member(0, side=24), member(1, side=48, crop=FaceCrop(margin=2.0))
    tight = member(2, side=32, crop=FaceCrop(margin=1.0))
    together = Ensemble([narrow, wide, tight])
    pictures = [draw_face(seed) for seed in range(3)] + [np.full((90, 90, 3), 120, np.uint8)]
    found = list(together.stream(pictures, batch_size=2, evidence=True))
    assert [result.verdict for result in found][-1] == "no_face"  # though one member takes whole pictures
    for result, picture in zip(found[:3], pictures, strict=False):
        alone = [single.predict(picture).faces[0].logit for single in (narrow, wide, tight)]
        np.testing.assert_allclose(result.faces[0].extra[MEMBERS], alone, atol=1e-4)
        assert result.detector.startswith("ensemble ")
        assert result.weights == "trained"


def test_predict_and_stream_take_what_any_detector_takes(tmp_path: Path) -> None:
    together = Ensemble([member(0), member(1, side=8)])
    folder = coloured(tmp_path, noisy(6, (0, 0, 0)))
    (folder / "real" / "broken.png").write_bytes(b"no picture")
    results = together.predict(folder)
    assert [result.verdict for result in results].count("error") == 1
    assert len(results) == 7
    single = together.predict(folder / "fake" / "001.png", keep_crops=True)
    assert single.p_fake == next(r.p_fake for r in results if r.source.endswith("001.png"))
    assert single.faces[0].crop.shape == (16, 16, 3)


def test_score_takes_one_array_for_each_way_of_cutting() -> None:
    same, mixed = Ensemble([member(0), member(1)]), Ensemble([member(0), member(1, side=8)])
    prepared = mixed.prepare(Image.new("RGB", (20, 20), (192, 64, 0)))
    assert [cut.shape for cut in (prepared.crops, *prepared.others)] == [(1, 16, 16, 3), (1, 8, 8, 3)]
    logit = mixed.score(prepared.crops, *prepared.others).logit
    np.testing.assert_allclose(logit, same.score(prepared.crops).logit)
    many = mixed.score(np.repeat(prepared.crops, 5, 0), np.repeat(prepared.others[0], 5, 0), batch_size=2)
    np.testing.assert_allclose(many.logit, np.repeat(logit, 5))
    assert many.extra[MEMBERS].shape == (5, 2)
    for wrong in ((prepared.crops,), (prepared.others[0], prepared.crops), (prepared.crops[:0], prepared.others[0])):
        with pytest.raises(InputError):
            mixed.score(*wrong)
    assert [spec.name for spec in mixed.manifest.inputs] == ["images", "images_1"]
    assert [spec.name for spec in mixed.manifest.outputs] == ["logit", MEMBERS]


def test_seeds_of_one_architecture_on_clips_are_an_ensemble() -> None:  # 003-18
    clips = [member(channel, clip=Clip(length=3, stride=2)) for channel in (0, 1)]
    together = Ensemble(clips)
    assert together.manifest.kind == "video"
    clip = np.zeros((2, 3, 16, 16, 3), np.uint8)
    assert together.score(clip).logit.tolist() == [-4.0, -4.0]
    longer, smaller = member(2, clip=Clip(length=4, stride=2)), member(2, side=8, clip=Clip(length=3, stride=2))
    for other in (member(2), longer, smaller):
        with pytest.raises(DeepfakeError, match=r"members that take clips .* 3 frames, 2 apart"):
            Ensemble([*clips, other])


@pytest.mark.parametrize(
    ("channels", "weights", "reason"),
    [
        ((), None, "two members at least"),
        ((0,), None, "two members at least"),
        ((0, 1, 0), None, "channel0 0 is there twice"),
        ((0, 1), [1.0], "1 weights for 2 members"),
        ((0, 1), [1.0, -0.5], "not negative"),
        ((0, 1), [0.0, 0.0], "not all zero"),
        ((0, 1), [1.0, float("nan")], "finite"),
    ],
)
def test_members_and_weights_that_do_not_fit_are_refused(channels, weights, reason) -> None:
    with pytest.raises(DeepfakeError, match=reason):
        Ensemble([member(channel) for channel in channels], weights)


def test_untrained_members_and_ensembles_are_refused_and_the_weakest_status_is_the_ensembles() -> None:
    with pytest.raises(DeepfakeError, match="'channel1' is untrained"):
        Ensemble([member(0), member(1, weights="untrained")])
    with pytest.raises(DeepfakeError, match="is an ensemble itself"):
        Ensemble([member(2), Ensemble([member(0), member(1)])])
    assert Ensemble([member(0), member(1, weights="pretrained")]).manifest.weights == "pretrained"
    assert Ensemble([member(0), member(0, version="2")]).members[1].manifest.version == "2"


def test_an_ensemble_has_no_network_of_its_own() -> None:
    together = Ensemble([member(0), member(1)])
    for name in ("network", "detector", "train", "export", "protect"):
        assert not hasattr(together, name)
    with pytest.raises(DeepfakeError, match="one of its members: channel0, channel1"):
        single(together)
    assert single(together.members[0]) is together.members[0]


def test_fitting_gives_weight_to_members_that_tell_fakes(tmp_path: Path) -> None:
    together = Ensemble([member(0), member(1), member(2)])
    data = coloured(tmp_path / "valid", noisy(120, (40, 25, 0)))
    assert together.fit(data) is together
    red, green, blue = together.weights
    assert red > green > blue >= 0
    assert sum(together.weights) == pytest.approx(1)
    fit = together.manifest.metrics["fit"]
    assert fit["auc"] >= fit["auc_equal"]
    assert fit["auc"] >= max(item["auc"] for item in fit["members"])
    assert 0 <= fit["auc"] - fit["auc_cross_validated"] < 0.1
    assert (fit["faces"], fit["groups"]) == (120, 120)
    assert together.manifest.calibration.fitted_on == "valid: 120 faces"
    results = together.predict(data)
    fake = np.array([Path(result.source).parent.name == "fake" for result in results])
    p_fake = np.array([result.p_fake for result in results])
    assert metrics.ece(fake, p_fake) < 0.12
    assert metrics.roc_auc(fake, p_fake) == pytest.approx(fit["auc"])
    (chance,) = fit["warnings"]
    assert re.match(r"channel2 0 is at chance on \S+valid \(AUC 0\.\d\d \[0\.\d\d, 0\.\d\d\]\).*leave it out", chance)


def test_a_member_that_was_fitted_on_the_same_data_is_named(tmp_path: Path) -> None:
    data = coloured(tmp_path / "seen", noisy(40, (60, 60, 0)))
    seen = Calibration(fitted_on_sha256=(manifest_hash(open_dataset(data)),))
    together = Ensemble([member(0), member(1, calibration=seen)]).fit(data)
    (said,) = together.manifest.metrics["fit"]["warnings"]
    assert said.startswith("channel1 0 was trained or calibrated on")


def test_a_member_that_was_trained_on_the_data_is_refused(tmp_path: Path) -> None:
    data = coloured(tmp_path / "seen", noisy(40, (60, 60, 0)))
    groups = [sample.group for sample in open_dataset(data)]
    members = [member(0), member(1)]
    members[0].training_groups = TrainingGroups.of([], groups[:3])
    members[1].training_groups = TrainingGroups.of(groups[:7], [])
    together = Ensemble(members)
    assert together.training_groups is not None
    assert len(together.training_groups.trained) == 7
    with pytest.raises(TrainingDataError, match=r"channel1 0 was trained on 7 of the \d+ groups of .*seen, such as"):
        together.fit(data)
    first, second = together.fit(data, allow_seen=True).manifest.metrics["fit"]["warnings"]
    assert "channel0 0 was selected and calibrated on 3 of the" in first
    assert "channel1 0 was trained on 7" in second


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([(True, (200, 200, 0))] * 4, "has fakes only"),
        ([(False, (200, 200, 0))] * 4, "has real faces only"),
        (noisy(60, (40, -60)), "channel1 0 ranks the real faces .* are swapped"),
    ],
)
def test_data_that_cannot_fit_an_ensemble_is_refused(tmp_path: Path, rows, reason) -> None:
    together = Ensemble([member(0), member(1)])
    rows = [(fake, (*colour, 0)[:3]) for fake, colour in rows]
    with pytest.raises(TrainingDataError, match=reason):
        together.fit(coloured(tmp_path, rows))
    assert together.weights == (0.5, 0.5)


def test_data_without_faces_is_refused(tmp_path: Path) -> None:
    together = Ensemble([member(0, crop=FaceCrop()), member(1, crop=FaceCrop())])
    with pytest.raises(TrainingDataError, match="no face was found"):
        together.fit(coloured(tmp_path, noisy(4, (0, 0, 0))))


@pytest.mark.parametrize(("seed", "members"), [(0, 2), (1, 3), (2, 3), (3, 5)])
def test_fitted_weights_minimise_their_objective(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    fake = np.arange(40) % 2.0
    logit = rng.normal(size=(40, members)) + fake[:, None] * rng.uniform(-1, 3, members)
    weights = fit_weights(logit, fake, np.full(40, "one"), pull=0.1)
    assert (weights >= 0).all()
    bias = np.linspace(-4, 4, 401)

    def objective(values: NDArray[np.float64]) -> float:
        z = (logit @ values)[:, None] + bias
        loss = np.logaddexp(0, z) - fake[:, None] * z
        return loss.mean(0).min() + 0.05 * ((values - 1 / members) ** 2).sum()

    best = objective(weights)
    for step in rng.normal(scale=0.05, size=(20, members)):
        assert objective(np.maximum(weights + step, 0)) >= best - 1e-4


# ── on disk ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(TINY, tmp_path / "tiny.onnx"))


def test_save_and_load_give_the_same_judgements(tmp_path: Path, model: Path) -> None:
    together = Ensemble([load("lite"), load(model)], [0.8, 0.2], name="pair")
    folder = together.save(tmp_path / "pair")
    again = load(folder, device="cpu")
    assert isinstance(again, Ensemble)
    assert again.manifest == together.manifest
    one, other = together.predict(PORTRAIT), again.predict(PORTRAIT)
    assert one == other
    assert one.detector == f"pair {together.manifest.version}"
    assert one.faces[0].spread > 0
    # The ensemble and its members can be moved together.
    (tmp_path / "elsewhere").mkdir()
    for path in (model, folder):
        shutil.move(path, tmp_path / "elsewhere" / path.name)
    assert load(tmp_path / "elsewhere" / "pair").predict(PORTRAIT) == one


def test_a_member_that_changed_or_is_gone_is_named(tmp_path: Path, model: Path) -> None:
    folder = Ensemble([load("lite"), load(model)]).save(tmp_path / "pair")
    file = folder / "ensemble.json"
    stored = json.loads(file.read_text())
    assert stored["members"][0]["origin"] == {"name_or_path": "lite"}
    stored["members"][0]["version"] = "older"
    file.write_text(json.dumps(stored))
    with pytest.raises(DeepfakeError, match=r"'lite' was version older and is .* now; bring"):
        load(folder)
    stored["members"][0]["version"] = load("lite").manifest.version
    stored["members"][1]["files"] = {"onnx": "0" * 64}
    file.write_text(json.dumps(stored))
    with pytest.raises(DeepfakeError, match=r"'tiny' .* with another model file"):
        load(folder)
    model.unlink()
    with pytest.raises(InputError, match=r"tiny\.onnx: no such file"):
        load(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x", "members": [], "weights": []}', '{"schema_version": 2}'])
def test_a_damaged_ensemble_file_is_said_to_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "ensemble.json").write_text(text)
    with pytest.raises(ArtifactCorrupt, match=r"ensemble\.json: is not valid"):
        load(tmp_path)


def test_what_cannot_be_found_again_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(DeepfakeError, match="not loaded by name or path"):
        Ensemble([member(0), member(1)]).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_whose_temperature_is_far_too_small_does_not_outweigh_the_others() -> None:
    sure = member(0, calibration=Calibration(temperature=0.0218))
    together = Ensemble([sure, member(1), member(2)])
    (face,) = together.predict(Image.new("RGB", (20, 20), (255, 48, 48)), evidence=True).faces
    strongest, *others = np.abs(face.extra[MEMBERS])
    assert strongest < 5 * min(others)  # 180 without a bound, beside 2.5
    alone = [sure.predict(Image.new("RGB", (20, 20), (red, 0, 0))).faces[0].logit for red in (100, 140, 200, 255)]
    shown = [
        together.predict(Image.new("RGB", (20, 20), (red, 0, 0)), evidence=True).faces[0].extra[MEMBERS][0]
        for red in (100, 140, 200, 255)
    ]
    assert np.argsort(shown).tolist() == np.argsort(alone).tolist()


def test_logits_that_are_not_certain_are_not_changed() -> None:
    values = np.linspace(-CERTAIN, CERTAIN, 25)
    np.testing.assert_array_equal(bounded(values), values)
    assert (np.diff(bounded(np.linspace(-500, 500, 999))) > 0).all()


@pytest.fixture
def stored(tmp_path: Path, model: Path) -> Path:
    """A folder with ``ensemble.json``."""
    return Ensemble([load(model), load("lite")]).save(tmp_path / "both")


def test_the_file_of_an_ensemble_sets_nothing_but_which_model_a_member_is(stored: Path) -> None:
    file = stored / "ensemble.json"
    whole = json.loads(file.read_text())
    for origin in ({"download": "yes"}, {"untrained": "1"}, {"backend": "torch"}, {"device": "cuda"}):
        changed = json.loads(file.read_text())
        changed["members"][0]["origin"] |= origin
        file.write_text(json.dumps(changed))
        with pytest.raises(
            ArtifactCorrupt, match=rf"ensemble\.json.*name_or_path and weights, not {next(iter(origin))}"
        ):
            load(stored)
        file.write_text(json.dumps(whole))
    whole["members"][1]["origin"] = {}
    file.write_text(json.dumps(whole))
    with pytest.raises(ArtifactCorrupt, match="neither"):
        load(stored)


def test_an_ensemble_that_names_itself_as_a_member_is_refused(stored: Path) -> None:
    file = stored / "ensemble.json"
    changed = json.loads(file.read_text())
    changed["members"][0]["origin"]["name_or_path"] = "./."
    file.write_text(json.dumps(changed))
    with pytest.raises(ArtifactCorrupt, match="is an ensemble itself"):
        load(stored)


def test_members_on_another_drive_are_named_by_their_full_path(
    stored: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relpath(*_arguments: object) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    ensemble = load(stored)
    monkeypatch.setattr("os.path.relpath", relpath)
    ensemble.save(stored)
    (first, _) = json.loads((stored / "ensemble.json").read_text())["members"]
    assert first["origin"]["name_or_path"] == str(model.resolve())
    assert len(load(stored).members) == 2
