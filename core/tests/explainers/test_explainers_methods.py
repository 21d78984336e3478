"""Explainers mark the right places, on detectors for which these are known."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers import Explainer, load_explainer
from deepfake_core.explainers.perturb import Occlusion, Rise, blurred
from deepfake_core.runtimes.base import Outputs
from deepfake_registry.manifest import Calibration

SIDE = 48


def stripes(frames: int = 0) -> NDArray[np.uint8]:
    """Return fine stripes on grey: the top left ones speak for a fake, the bottom right ones for a real face."""
    picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
    picture[8:16, 8:16:2] = 255
    picture[32:40, 32:40:2] = 255
    return np.stack([picture] * frames) if frames else picture


class Detail:
    """Detector without a network, like an exported file: its logit is the difference in contrast between two places."""

    manifest = SimpleNamespace(name="detail", outputs=())
    spec = None

    def score(self, images: NDArray[np.uint8]) -> Outputs:
        rows = images.astype(np.float32).mean(-1)

        def contrast(place: slice) -> NDArray[np.float32]:
            return rows[..., place, place].std(-1).reshape(len(images), -1).mean(1)

        return Outputs((contrast(slice(8, 16)) - contrast(slice(32, 40))).astype(np.float32) / 10)


def named(name: str) -> Explainer:
    found = load_explainer(name, Detail())  # type: ignore[arg-type]
    assert isinstance(found, Explainer)
    return found


@pytest.mark.parametrize("name", ["occlusion", "rise"])
@pytest.mark.parametrize(("target", "hot", "cold"), [("fake", 12, 36), ("real", 36, 12)])
def test_hiding_finds_what_the_score_hangs_on(name: str, target: Any, hot: int, cold: int) -> None:  # 001-21
    explainer = named(name)
    explainer.target = target
    heat = explainer.explain(Detail(), stripes())  # type: ignore[arg-type]
    assert (heat.shape, heat.dtype) == ((SIDE, SIDE), np.float32)
    assert 0 <= heat.min() <= heat.max() == 1
    assert heat[hot - 3 : hot + 4, hot - 3 : hot + 4].mean() > 0.6
    assert heat[cold - 3 : cold + 4, cold - 3 : cold + 4].mean() < 0.2
    assert heat[-3:, :3].mean() < 0.6, "a place that means nothing"


@pytest.mark.parametrize("kind", [Occlusion, Rise])
def test_hiding_gives_the_same_map_every_time_and_one_for_each_frame(kind: type[Explainer]) -> None:
    picture, clip = (kind().explain(Detail(), crop) for crop in (stripes(), stripes(3)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(picture, kind().explain(Detail(), stripes()))  # type: ignore[arg-type]
    assert clip.shape == (3, SIDE, SIDE)
    for frame in clip:
        np.testing.assert_allclose(frame, picture, atol=1e-5)


def test_a_detector_that_always_says_the_same_has_no_hot_place() -> None:
    constant = SimpleNamespace(score=lambda images: Outputs(np.ones(len(images), np.float32)))
    for kind in (Occlusion, Rise):
        assert not kind().explain(constant, stripes()).any()  # type: ignore[arg-type]


@pytest.mark.parametrize(("band", "start"), [((0.5, 0.5), "Hiding"), ((0.0, 1.0), "No single place decides: hiding")])
@pytest.mark.parametrize(("target", "sign"), [("fake", 1), ("real", -1)])
def test_occlusion_says_what_hiding_a_place_changes(band: Any, start: str, target: Any, sign: int) -> None:
    calibration = Calibration(unsure_low=band[0], unsure_high=band[1])
    explainer, crop = Occlusion(), stripes()
    explainer.target = target
    explainer.explain(Detail(), crop)  # type: ignore[arg-type]
    assert explainer.hidden < 0, "the other class has the higher score then"
    p_fake = 0.5 + sign * 0.01
    said = explainer.sentence("around the nose", whole=False, p_fake=p_fake, calibration=calibration)
    after = calibration.p_fake(explainer.hidden)
    assert said == f"{start} the part around the nose lowers P({target}) most, from 51.0% to {after:.1%}."
    said = explainer.sentence("", whole=False, p_fake=p_fake, calibration=calibration)
    assert said == f"Nothing localised: hiding any one place does not lower P({target})."


def test_every_place_of_any_size_is_hidden_by_some_window() -> None:
    for height, width in ((48, 48), (50, 37), (224, 224), (7, 7)):
        masks = np.stack(list(Occlusion().masks(height, width)))
        assert masks[0].all()
        assert (masks[1:].min(0) == 0).all()
        drawn = np.stack([mask for mask, _ in zip(Rise().masks(height, width), range(64), strict=False)])
        assert drawn.shape == (64, height, width)
        assert 0.4 < drawn.mean() < 0.6


def test_blur_keeps_the_mean_and_takes_the_detail() -> None:
    crop = stripes(2)
    soft = blurred(crop)
    assert (soft.shape, soft.dtype) == (crop.shape, np.uint8)
    assert abs(soft.mean() - crop.mean()) < 1
    assert soft.std() < crop.std() / 2


def test_every_explainer_is_listed_and_constructed_without_arguments() -> None:
    names = {"evidence", "gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "eigencam"}
    assert names | {"rollout", "occlusion", "rise"} <= set(plugins.explainers())
    for name, entry in plugins.explainers().items():
        explainer = named(name)
        assert set(explainer.targets) <= {"fake", "real"}
        texts = explainer.shows, explainer.filled(explainer.meaning), explainer.filled(explainer.found, "on the jaw")
        assert all(text and "{" not in text for text in texts)
        assert "\n" not in entry.spec.summary


# ── the network itself ───────────────────────────────────────────────────────────────────────────────────────

torch = pytest.importorskip("torch") if find_spec("torch") else None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


def rolled(*matrices: list[list[float]]) -> NDArray[np.float64]:
    from deepfake_core.explainers.rollout import rollout

    result: NDArray[np.float64] = rollout([torch.tensor(matrix)[None, None] for matrix in matrices])[0].numpy()
    return result


@needs_torch
def test_rollout_by_hand() -> None:
    # A class token and one patch: A = [[0, 1], [0, 1]], (A + I) / 2 = [[1/2, 1/2], [0, 1]]; its square's row: 1/4, 3/4.
    attends = [[0.0, 1.0], [0.0, 1.0]]
    np.testing.assert_allclose(rolled(attends), [[0.5]])
    np.testing.assert_allclose(rolled(attends, attends), [[0.75]])
    # Without a class token, the mean over all places is taken: each of the four places attends to the second one.
    everybody = [[0.0, 1.0, 0.0, 0.0]] * 4
    np.testing.assert_allclose(rolled(everybody), np.array([[1, 5], [1, 1]]) / 8)


@needs_torch
@pytest.mark.parametrize("library", ["timm", "transformers", "older transformers"])
def test_attention_is_what_the_layer_computes(library: str) -> None:
    from deepfake_core.explainers.rollout import attention
    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    torch.manual_seed(0)
    tokens = torch.randn(2, 5, 16)
    layer: Any
    if library == "timm":
        layer = pytest.importorskip("timm.layers").Attention(16, num_heads=2, qkv_bias=True, qk_norm=True,
                                                              norm_layer=torch.nn.LayerNorm).eval()  # fmt: skip
        layer.fused_attn = False
        seen: list[Any] = []
        layer.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    elif library == "transformers":
        siglip = pytest.importorskip("transformers.models.siglip.modeling_siglip")
        config = pytest.importorskip("transformers").SiglipVisionConfig(hidden_size=16, num_attention_heads=2)
        config._attn_implementation = "eager"
        layer = siglip.SiglipAttention(config).eval()
        seen = [layer(tokens)[1]]
    else:
        layer = torch.nn.Module()
        layer.query, layer.key, layer.num_attention_heads = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16), 2
        layer.forward = lambda x: (layer.query(x), layer.key(x))
        queries, keys = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in layer(tokens))
        seen = [(queries @ keys.transpose(-2, -1) / 8**0.5).softmax(-1)]
    with attention([layer]) as matrices, torch.inference_mode():
        layer(tokens)
    np.testing.assert_allclose(matrices[0].numpy(), seen[0].detach().numpy(), atol=1e-6)
    assert all(not module._forward_hooks or library == "timm" for module in layer.modules()), "a hook was left"


@needs_torch
def test_a_layer_that_is_no_attention() -> None:
    from deepfake_core.explainers.rollout import attention

    with pytest.raises(DeepfakeError, match="cannot read Linear"), attention([torch.nn.Linear(2, 2)]):
        pass
