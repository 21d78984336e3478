"""``protect``: bounded, at full resolution, and the file stays what it was otherwise."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import deepfake_core
from deepfake_bench.cli import app
from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.errors import DeepfakeError, InputError
from deepfake_core.inputs.decode import decode
from deepfake_core.protect import protectors

pytestmark = pytest.mark.torch

PORTRAIT = Path(__file__).parents[3] / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"
FAKES = PORTRAIT.parent / "plumbing" / "fake"


class Loud(protectors.Protector):
    """As much as the bound allows, and more."""

    def perturbation(self, detector, crops, epsilon):
        signs = np.random.default_rng(0).choice([-1.0, 1.0], crops.shape)
        return (2 * epsilon * signs).astype(np.float32)


@pytest.fixture
def loud(detector, monkeypatch):
    monkeypatch.setattr(protectors, "load_protector", lambda _detector: Loud())
    return detector


@pytest.fixture
def face():
    return Image.fromarray(draw_face(1))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def difference(one, other):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))


@given(
    width=st.integers(17, 90),
    height=st.integers(17, 90),
    epsilon=st.floats(1 / 255, 1.0),
    seed=st.integers(0, 9),
    mode=st.sampled_from(["RGB", "RGBA", "L", "LA", "CMYK"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bound_is_exact_after_rounding(loud, width, height, epsilon, seed, mode):  # 002-7
    given = Image.fromarray(draw_face(seed)).resize((width, height)).convert(mode)
    found = loud.protect(given, epsilon=epsilon, reason="a drawn face, which a detector may call fake")
    assert (found.mode, found.size) == (given.mode, given.size)
    assert difference(given, found).max() <= int(255 * epsilon + 1e-9)
    if mode in ("RGBA", "LA", "CMYK"):
        assert np.array_equal(np.asarray(given)[..., -1], np.asarray(found)[..., -1])


def test_the_default_is_seven_levels(loud, face):
    found = loud.protect(face)
    assert difference(face, found).max() == 7
    facts = found.info["protection"]
    assert facts["epsilon"] == 0.03
    assert facts["faces"] == 1
    assert facts["weights"] == "untrained"
    assert 30 < facts["psnr_db"] < 60
    assert 0.5 < facts["ssim"] < 1


def test_a_smaller_bound_changes_less(detector, face):
    most = [difference(face, detector.protect(face, epsilon=epsilon)).max() for epsilon in (0.02, 0.5)]
    assert 0 < most[0] < most[1]


@pytest.mark.parametrize("epsilon", [0, -0.1, 1.01, float("nan"), float("inf"), 0.001])
def test_a_bound_that_makes_no_sense_is_refused(detector, face, epsilon):
    with pytest.raises(DeepfakeError, match="epsilon"):
        detector.protect(face, epsilon=epsilon)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_protected_where_its_face_is(loud, face, tmp_path, orientation):
    # As a camera that was held so stores it.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    wide = Image.new("RGB", (500, 300), "gray")
    wide.paste(face, (20, 20))
    stored = wide.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else wide
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    stored.save(tmp_path / "in.png", exif=exif)
    found = loud.protect(tmp_path / "in.png", save=tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.size == found.size == stored.size
        assert (saved.getexif()[0x0112], saved.getexif()[0x010E]) == (orientation, "a description")
        assert np.array_equal(np.asarray(saved), np.asarray(found))
    changed = difference(decode(tmp_path / "in.png").pixels, decode(tmp_path / "out.png").pixels).max(2) > 0
    rows, columns = np.nonzero(changed)
    assert found.info["protection"]["faces"] == 1
    assert columns.max() < 330, "the change is not where the face is"
    assert rows.max() - rows.min() > 100


def test_profile_and_exif_go_into_a_jpeg(loud, face, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    face.save(tmp_path / "in.jpg", exif=exif, icc_profile=b"profile", quality=95)
    loud.protect(tmp_path / "in.jpg", save=tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as saved:
        assert saved.getexif()[0x010F] == "maker"
        assert saved.info["icc_profile"] == b"profile"


def test_every_kind_of_input(loud, face, tmp_path):
    face.save(tmp_path / "face.png")
    inputs = [face, np.asarray(face), tmp_path / "face.png", str(tmp_path / "face.png"),
              (tmp_path / "face.png").read_bytes(), io.BytesIO((tmp_path / "face.png").read_bytes())]  # fmt: skip
    found = [np.asarray(loud.protect(given)) for given in inputs]
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize(("mode", "becomes"), [("P", "RGB"), ("1", "L"), ("I;16", "I;16"), ("YCbCr", "RGB")])
def test_other_colour_modes(loud, face, mode, becomes):
    if mode == "I;16":
        given = Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257)
    else:
        given = face.convert(mode)
    found = loud.protect(given)
    assert found.mode == becomes
    if mode == "I;16":
        assert difference(given, found).max() <= 0.03 * 65535
        assert difference(given, found).max() == 7 * 257


def test_a_mode_without_a_range_is_refused(loud, face):
    with pytest.raises(InputError, match="convert"):
        loud.protect(face.convert("F"))


def test_no_face_protects_the_whole_picture(loud):
    flat = Image.new("RGB", (400, 200), (90, 90, 90))
    found = loud.protect(flat)
    assert found.info["protection"]["faces"] == 0
    assert (difference(flat, found).max(2) > 0).mean() > 0.5


def test_several_faces_are_all_protected(loud, face):
    wide = Image.new("RGB", (560, 300), (120, 110, 100))
    wide.paste(face, (12, 20))
    wide.paste(Image.fromarray(draw_face(4)), (292, 20))
    found = loud.protect(wide)
    assert found.info["protection"]["faces"] == 2
    changed = difference(wide, found)
    assert changed.max() == 7
    assert changed[:, :280].any()
    assert changed[:, 280:].any()


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_bad_files_are_named(detector, tmp_path, content):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.jpg"):
        detector.protect(path)


def test_an_animation_is_refused_rather_than_cut_to_its_first_image(detector, face, tmp_path):
    face.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.fromarray(draw_face(2))])
    with pytest.raises(InputError, match=r"moving\.gif.*animation"):
        detector.protect(tmp_path / "moving.gif")


@pytest.fixture(scope="module")
def shipped():
    pytest.importorskip("deepfake_lite")
    return deepfake_core.load("unet", device="cpu"), deepfake_core.load("lite", device="cpu")


@pytest.mark.parametrize("number", [0, 1, 3, 6, 9])
def test_a_fake_is_never_real_after_protection(shipped, number):
    """What ``lite`` calls fake is refused, and what is protected is marked, also after JPEG."""
    protector, judge = shipped
    before = judge.predict(FAKES / f"view{number:02d}.jpg")
    if before.verdict == "fake":
        with pytest.raises(InputError, match=r"view0\d\.jpg: lite .* calls a face fake"):
            protector.protect(before.source)
    image = protector.protect(before.source, reason="a test")
    facts = image.info["protection"]
    assert (facts["faces"], facts["marked"], facts["reason"]) == (1, 1, "a test")
    assert facts["checked"] == ({"detector": before.detector, "verdict": before.verdict, "p_fake": before.p_fake},)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=75)
    for found in judge.predict([np.asarray(image), data.getvalue()]):
        assert (found.verdict, found.p_fake) == ("unsure", None)
        assert "protected" in found.warnings[0]


def test_shipped_protection_is_hardly_visible(shipped):
    """No channel goes over the bound, and what is finer than the mark is left as it is: there are no stripes."""
    with Image.open(PORTRAIT) as picture:
        before = np.asarray(picture.convert("RGB"))
    facts = shipped[0].protect(before).info["protection"]
    assert facts["psnr_db"] > 38
    assert facts["ssim"] > 0.97


def test_originals_are_never_overwritten(detector, face, tmp_path):
    face.save(tmp_path / "face.png")
    before = (tmp_path / "face.png").read_bytes()
    with pytest.raises(DeepfakeError, match="never overwritten"):
        detector.protect(tmp_path / "face.png", save=tmp_path / "face.png")
    assert (tmp_path / "face.png").read_bytes() == before
    with pytest.raises(DeepfakeError, match="suffix"):
        detector.protect(tmp_path / "face.png", save=tmp_path / "face.xyz")
    with pytest.raises(DeepfakeError, match=r"use \.png"):
        detector.protect(face.convert("RGBA"), save=tmp_path / "face.jpg")
    assert names(tmp_path) == ["face.png"]


def test_a_detector_that_is_no_protector_says_so(face):
    pytest.importorskip("deepfake_lite")
    with pytest.raises(DeepfakeError, match="'lite' is no protector; protectors are unet"):
        deepfake_core.load("lite", device="cpu").protect(face)


def test_a_localiser_does_not_protect(face):
    config = {"widths": [8, 16], "image_size": 64, "protect_weight": 0.0}
    localiser = deepfake_core.load("unet", untrained=True, device="cpu", config=config)
    with pytest.raises(DeepfakeError, match="trained to find blended regions only, and its perturbation is random"):
        localiser.protect(face)


@pytest.fixture(scope="module")
def exported(detector, tmp_path_factory):
    return detector.export(out=tmp_path_factory.mktemp("model") / "unet.onnx")


def test_it_runs_without_torch(exported, detector, face, tmp_path):  # 002-1
    face.save(tmp_path / "in.png")
    code = (
        "import sys; sys.modules['torch'] = None; import deepfake_core as df; "
        f"df.load({str(exported)!r}, device='cpu').protect({str(tmp_path / 'in.png')!r}, "
        f"save={str(tmp_path / 'out.png')!r}); "
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with Image.open(tmp_path / "out.png") as saved:
        assert difference(saved, detector.protect(face)).max() <= 1


def test_command_refuses_fakes_unless_there_is_a_reason(exported, tmp_path):
    pytest.importorskip("deepfake_lite")
    command = ["protect", str(FAKES / "view01.jpg"), "--detector", str(exported), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--device", "cpu"])
    assert done.exit_code == 3
    assert "calls a face fake" in done.stderr
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*command, "--device", "cpu", "--reason", "I took it"])
    assert done.exit_code == 0, done.output
    assert "protected because: I took it" in done.stderr
    assert names(tmp_path / "out") == ["view01.jpg"]


def test_command(exported, face, tmp_path):  # 002-7
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    face.save(folder / "one.png")
    face.save(folder / "one.jpg")
    (folder / "bad.png").write_bytes(b"nothing")
    command = ["protect", str(folder), "--detector", str(exported), "--out", str(out), "--report", "--device", "cpu"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert names(out) == ["one.jpg", "one.png"]
    assert done.stdout.count("PSNR") == 2
    assert "bad.png" in done.stderr
    assert "untrained" in done.stderr
    again = CliRunner().invoke(app, ["protect", str(out / "one.png"), *command[2:]])
    assert names(out) == ["one-2.png", "one.jpg", "one.png"], again.output


@pytest.mark.parametrize(("change", "status"), [(("--epsilon", "0"), 2), (("--epsilon", "2"), 2), ((), 3)])
def test_command_refuses(exported, tmp_path, change, status):
    command = ["protect", str(tmp_path / "absent.png"), "--detector", str(exported), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, *change, "--device", "cpu"])
    assert done.exit_code == status
    assert not (tmp_path / "out").exists()
