"""The explanation pictures of the shipped weights: colours where a face was changed, none on a photograph."""

from deepfake_bench.records.dataset import DATA
from deepfake_core import load
from deepfake_core.explainers.evidence import LIMIT


def test_a_photograph_has_no_colour_and_a_changed_face_has_it_inside():
    detector = load("lite")
    real, fake = detector.explain([DATA / "portrait.jpg", DATA / "plumbing" / "fake" / "view04.jpg"])
    assert real.heat.floor == detector.manifest.metrics["validation"][LIMIT]
    assert real.heat.values.max() < real.heat.floor
    assert real.sentence == "Nothing stands out: no place shows more signs of manipulation than real faces do."
    assert (real.heat.shows, fake.heat.shows) == ("no place is marked", "where it looks manipulated")
    coloured = fake.heat.values > fake.heat.floor
    assert coloured[90:150, 80:144].all(), "the middle of the face was blended"
    assert not coloured[:30].any()
    assert not coloured[:, :20].any(), "hair and background were not"
    assert fake.sentence.startswith("The evidence covers most of the face")
