"""Labelled fakes by kind: how often each is drawn, and which real faces stand beside it."""

import numpy as np
import pytest
from drawn_faces import DrawnFaces

from deepfake_core.contract.recipe import LabelledKind, Pairs, Phase, TrainRecipe
from deepfake_core.errors import DeepfakeError
from deepfake_core.training.pairs.draws import FAMILIES
from deepfake_core.training.pairs.labelled import OTHERS, Labelled, limited
from deepfake_core.training.pairs.planner import PairSource, Planner
from deepfake_core.training.recipes.changes import changed
from deepfake_core.training.recipes.settings import validated
from deepfake_core.training.recipes.stages import pairs_of_run
from deepfake_core.training.recipes.yaml_files import parse_yaml, to_yaml

pytestmark = pytest.mark.torch

# Source → number of real faces and of fakes.
SOURCES = {"gan": (20, 16), "swap": (90, 64), "diffusion": (0, 100), "sharp": (30, 0), "soft": (40, 0), "lost": (0, 7)}
DIFFUSION = LabelledKind(name="diffusion", sources=("diffusion",), beside=("sharp",))
GAN = LabelledKind(name="gan", share=2, sources=("gan",))


def faces_of(sources=SOURCES):
    faces = DrawnFaces(sum(map(sum, sources.values())), side=64)
    faces.source_names = list(sources)
    faces.sources = np.repeat(np.arange(len(sources)), [sum(counts) for counts in sources.values()]).astype(np.int32)
    faces.fake = np.concatenate([np.repeat([0, 1], counts) for counts in sources.values()]).astype(np.int8)
    return faces


def labelled(*kinds, agreement=None):
    faces = faces_of()
    return faces, Labelled(
        faces, np.flatnonzero(faces.fake == 0), np.flatnonzero(faces.fake), Pairs(kinds=kinds), agreement
    )


def drawn(faces, found, n=6000):
    """Share of each source among the fakes, and the sources of the real faces beside each."""
    real, fake = found.draw(np.random.default_rng(0), n)
    assert not faces.fake[real].any()
    assert faces.fake[fake].all()
    of_real, of_fake = (np.array(faces.source_names)[faces.sources[rows]] for rows in (real, fake))
    beside = {name: set(of_real[of_fake == name].tolist()) for name in set(of_fake.tolist())}
    return {name: float((of_fake == name).mean()) for name in beside}, beside


def test_without_kinds_sources_weigh_by_the_root_of_their_size():
    faces, found = labelled()
    shares, beside = drawn(faces, found)
    assert shares == {"gan": pytest.approx(4 / 12, abs=0.02), "swap": pytest.approx(8 / 12, abs=0.02)}
    assert beside == {"gan": {"gan"}, "swap": {"swap"}}
    assert found.unpaired == {"diffusion": 100, "lost": 7}
    assert found.kinds == {OTHERS: {"gan": pytest.approx(4 / 12), "swap": pytest.approx(8 / 12)}}


def test_a_kind_has_its_share_and_its_fakes_stand_beside_the_real_faces_that_it_names():
    faces, found = labelled(DIFFUSION, GAN)
    shares, beside = drawn(faces, found)
    # The sources that no kind names are one more kind with the share 1.
    assert shares == {
        "gan": pytest.approx(2 / 4, abs=0.02),
        "diffusion": pytest.approx(1 / 4, abs=0.02),
        "swap": pytest.approx(1 / 4, abs=0.02),
    }
    assert beside["diffusion"] == {"sharp"}
    assert beside["gan"] == {"gan"}
    assert found.unpaired == {"lost": 7}
    assert sum(found.shares.values()) == pytest.approx(1)


def test_sources_of_one_kind_weigh_by_the_root_of_their_size():
    faces, found = labelled(LabelledKind(name="all", sources=("gan", "swap", "diffusion"), beside=("sharp", "soft")))
    shares, beside = drawn(faces, found)
    assert shares == {
        "gan": pytest.approx(4 / 22, abs=0.02),
        "swap": pytest.approx(8 / 22, abs=0.02),
        "diffusion": pytest.approx(10 / 22, abs=0.02),
    }
    assert beside["diffusion"] == {"sharp", "soft"}
    assert beside["swap"] == {"swap"}, "real faces of its own come first"


def test_a_kind_without_a_share_and_one_whose_sources_are_not_there_are_not_drawn():
    kinds = (GAN.model_copy(update={"share": 0.0}), LabelledKind(name="none", sources=("lost",), beside=("nowhere",)))
    faces, found = labelled(*kinds)
    assert drawn(faces, found)[0] == {"swap": 1.0}
    assert found.unpaired == {"diffusion": 100, "lost": 7}
    only = LabelledKind(name="all", share=0, sources=("gan", "swap"))
    assert len(labelled(only)[1]) == 0


def test_fakes_and_real_faces_of_a_kind_agree_in_a_number_that_is_given():
    faces = faces_of()
    values = np.where(faces.fake, 1.0, 0.0) + np.random.default_rng(0).normal(0, 1, len(faces))
    for used, least, most in ((None, 0.8, 1.2), (lambda fake, real: (values[fake], values[real]), 0.0, 0.5)):
        _, found = labelled(DIFFUSION, agreement=used)
        real, fake = found.draw(np.random.default_rng(0), 6000)
        here = faces.sources[fake] == 2
        assert least < values[fake[here]].mean() - values[real[here]].mean() < most


def test_what_a_run_draws_is_said():
    _, found = labelled(DIFFUSION)
    lines = list(found.described(0.25, 8000))
    assert lines == [
        "labelled fakes of diffusion: 12.5% of the pairs: diffusion (100, each drawn 10 times)",
        "labelled fakes of other sources: 12.5% of the pairs: gan (16, each drawn 20.8 times), "
        "swap (64, each drawn 10.4 times)",
        "labelled fakes without real faces of their own source are left out: lost (7); pairs.kinds can put them "
        "beside those of other sources",
    ]
    assert next(found.described(0.25, None)).endswith(": diffusion (100)")
    assert next(labelled()[1].described(0.25, None)) == "labelled fakes: 25.0% of the pairs: gan (16), swap (64)"


@pytest.mark.parametrize(
    ("shares", "most", "expected"),
    [
        ({"a": 2, "b": 2}, {}, {"a": 0.5, "b": 0.5}),
        ({"a": 1, "b": 1, "c": 2}, {"a": 0.1}, {"a": 0.1, "b": 0.3, "c": 0.6}),
        # What a gives up takes b above its limit.
        ({"a": 2, "b": 1, "c": 1}, {"a": 0.1, "b": 0.3}, {"a": 0.1, "b": 0.3, "c": 0.6}),
        ({"a": 1, "b": 1}, {"a": 0.1, "b": 0.3}, {"a": 0.25, "b": 0.75}),
        ({"a": 1, "b": 0}, {}, {"a": 1.0}),
    ],
)
def test_shares_are_limited(shares, most, expected):
    assert limited(shares, most) == pytest.approx(expected)


def planner(drawn=None, **pairs):
    faces = faces_of()
    pseudo = dict.fromkeys(FAMILIES, 0.0) | {"self_blend": 1.0, "labelled": 1.0}
    source = PairSource(faces, np.arange(len(faces)))
    return Planner(source, Pairs(pseudo=pseudo, **pairs), size=32, margin=1.3, cells=4, drawn=drawn)


def test_a_kind_whose_fakes_would_be_drawn_too_often_gets_a_smaller_share():
    kinds = (GAN, DIFFUSION)
    free = planner(10_000, kinds=kinds)
    assert free.shares == {"self_blend": 0.5, "labelled": 0.5}
    plan = planner(10_000, kinds=kinds, visits=50)
    # 16 fakes of the GAN, 50 times each, are 800 of 10,000 pairs; the other kinds are below their limits.
    of = {name: plan.shares["labelled"] * share for name, share in plan.labelled.shares.items()}
    assert of["gan"] == pytest.approx(0.08)
    lines = list(plan.labelled.described(plan.shares["labelled"], 10_000))
    assert lines[1] == (
        "labelled fakes of gan: 8.0% of the pairs, not 25.0% because of pairs.visits: gan (16, each drawn 50 times)"
    )
    assert "visits" not in lines[0] + lines[2]
    assert of["diffusion"] == pytest.approx(of[OTHERS])
    assert of["diffusion"] / plan.shares["self_blend"] == pytest.approx(0.125 / 0.5)
    assert sum(plan.shares.values()) == pytest.approx(1)
    rare = planner(100, kinds=kinds, visits=50)
    assert rare.shares == pytest.approx(free.shares)
    assert not rare.labelled.lowered
    assert planner(None, kinds=kinds, visits=50).shares == free.shares


def test_the_pairs_of_a_run_are_counted():
    recipe = TrainRecipe(samples="pairs", batch_size=8, accumulate=2, phases=(Phase(epochs=3), Phase(steps=5)))
    assert pairs_of_run(recipe, 40) == (3 * 5 + 5) * 8
    assert pairs_of_run(recipe.model_copy(update={"phases": (Phase(minutes=1),)}), 40) is None
    with pytest.raises(ValueError, match="in epochs or steps"):
        TrainRecipe(samples="pairs", pairs=Pairs(visits=3), phases=(Phase(minutes=1),))


def test_a_mixed_fake_gets_a_part_of_its_real_face():
    plan = planner(mix=0.5)
    chunks = [plan.draw(np.random.default_rng(seed), 2, "labelled") for seed in range(60)]
    mixed = [chunk for chunk in chunks if chunk.blend is not None]
    assert 20 < len(mixed) < 40
    assert all(chunk.blend.mismatch is None and chunk.blend.matched.all() for chunk in mixed)
    assert not any(planner().draw(np.random.default_rng(seed), 2, "labelled").blend for seed in range(9))


def test_kinds_are_set_and_read_as_yaml():
    change = "pairs.kinds=[{name: diffusion, sources: [diffusion], beside: [sharp]}]"
    recipe = changed(TrainRecipe(), [change, "pairs.kinds.0.share=2"])
    assert recipe.pairs.kinds == (DIFFUSION.model_copy(update={"share": 2.0}),)
    assert validated(TrainRecipe, parse_yaml(to_yaml(recipe), "text"), "text") == recipe
    for wrong, message in (
        ("pairs.kinds=[{name: x}]", r"pairs\.kinds\.0\.sources: Field required"),
        ("pairs.kinds=[{name: x, sources: [a]}, {name: y, sources: [a]}]", "the source 'a' occurs twice"),
        ("pairs.kinds=[{name: x, sources: [a]}, {name: x, sources: [b]}]", "the kind 'x' occurs twice"),
        ("pairs.kinds=[{name: x, source: [a]}]", "did you mean sources"),
    ):
        with pytest.raises(DeepfakeError, match=message):
            changed(TrainRecipe(), [wrong])
