"""The network of RADAR, module by module, and its loss."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from deepfake_core.errors import ArtifactCorrupt, DeepfakeError
from deepfake_core.loading.load import load
from deepfake_radar import RADAR, RADARConfig
from deepfake_radar.detector import Radar
from deepfake_radar.network import Answer, CrossAttention, EvidenceReasoning, resampled
from deepfake_registry.manifest import MANIFEST_KEY

pytestmark = pytest.mark.torch

TINY = {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}
BATCH = {"fake": torch.tensor([0.05, 0.95, 0.95, 0.05]), "weight": torch.tensor([1.0, 1.0, 1.0, 0.0])}


@pytest.fixture
def radar():
    torch.manual_seed(0)
    return RADAR(RADARConfig(**TINY)).eval()


@pytest.fixture
def images():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_size():  # 004-1, 004-2
    with torch.device("meta"):
        radar = RADAR()
    assert parameters(radar) == 22_512_261
    parts = {name: parameters(part) for name, part in radar.named_children()}
    assert parts == {
        "encoder": 21_665_664,
        "boundary": 545_793,
        "frequency": 250_497,
        "reasoning": 49_921,
        "external": 385,
    }
    assert len(radar.encoder.blocks) == 12
    assert radar.encoder.embed_dim == 384


def test_the_encoder_is_timms(radar, images):  # 004-1
    with torch.inference_mode():
        torch.testing.assert_close(radar.tokens(images), radar.encoder.forward_features(images))


def test_the_answer_names_every_judge(radar, images):  # 004-2, 004-3
    with torch.inference_mode():
        answer = Answer(*radar(images))
    shapes = {name: tuple(value.shape) for name, value in answer._asdict().items()}
    assert shapes == {
        "logit": (4,),
        "boundary": (4,),
        "frequency": (4,),
        "boundary_evidence": (4, 64),
        "frequency_evidence": (4, 64),
        "reasoning": (4, 3),
    }


def test_samples_do_not_mix(radar, images):  # 004-2
    with torch.inference_mode():
        together, alone = radar(images), [radar(image[None]) for image in images]
    for name, value, parts in zip(Answer._fields, together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(value, torch.cat(parts), msg=name)


def test_the_branches_see_different_things(radar, images):  # 004-2: boundary: patches; frequency: class token
    summary = torch.randn(4, 48)
    patches = torch.randn(4, 16, 48)
    with torch.inference_mode():
        _, boundary = radar.boundary(images, patches)
        assert not torch.allclose(radar.boundary(images, patches * 2)[1], boundary)
        shuffled = patches[:, torch.randperm(16)]
        torch.testing.assert_close(radar.boundary(images, shuffled)[1], boundary)  # mean and maximum know no order
        smooth = F.avg_pool2d(images, 3, 1, 1)
        _, frequency = radar.frequency(images, summary)
        assert not torch.allclose(radar.frequency(smooth, summary)[1], frequency)
        assert not torch.allclose(radar.frequency(images, -summary)[1], frequency)


def test_attention_is_torchs(images):  # 004-3
    torch.manual_seed(0)
    ours, theirs = CrossAttention(64, 4), nn.MultiheadAttention(64, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
        state, tokens = torch.randn(5, 64), torch.randn(5, 2, 64)
        torch.testing.assert_close(ours(state, tokens), theirs(state[:, None], tokens, tokens)[0][:, 0])


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_reasoning_iterates(iterations):  # 004-3
    torch.manual_seed(0)
    reasoning = EvidenceReasoning(RADARConfig(reasoning_iterations=iterations))
    boundary, frequency = torch.randn(2, 64), torch.randn(2, 64)
    with torch.no_grad():
        logits = reasoning(boundary, frequency)
        state = reasoning.begin(torch.cat([boundary, frequency], dim=1))
        for step in range(iterations):
            seen = reasoning.attend(state, torch.stack([boundary, frequency], dim=1))
            gates = F.linear(seen, reasoning.update.weight_ih, reasoning.update.bias_ih).chunk(3, 1)
            memory = F.linear(state, reasoning.update.weight_hh, reasoning.update.bias_hh).chunk(3, 1)
            reset, keep = torch.sigmoid(gates[0] + memory[0]), torch.sigmoid(gates[1] + memory[1])
            state = (1 - keep) * torch.tanh(gates[2] + reset * memory[2]) + keep * state  # Cho et al. 2014
            torch.testing.assert_close(logits[:, step], reasoning.predict(state)[:, 0])
    assert logits.shape == (2, iterations)


def test_the_gate_weighs_reasoning_against_the_encoder(radar, images):  # 004-4
    assert radar.gate.item() == 0
    with torch.inference_mode():
        external = radar.external(radar.tokens(images)[:, 0])[:, 0]
        last = Answer(*radar(images)).reasoning[:, -1]
        for gate, trust in ((0.0, 0.5), (40.0, 1.0), (-40.0, 0.0)):
            radar.gate.fill_(gate)
            torch.testing.assert_close(radar(images)[0], trust * last + (1 - trust) * external)


def test_the_loss_term_by_term(radar, images):  # 004-5
    answer = Answer(*radar(images))
    loss = Radar(radar.config).loss(tuple(answer), BATCH)

    def bce(logit):  # the last sample counts nowhere
        return F.binary_cross_entropy_with_logits(logit[:3], BATCH["fake"][:3])

    overlap = F.cosine_similarity(answer.boundary_evidence[:3], answer.frequency_evidence[:3]).abs()
    expected = (
        bce(answer.logit)
        + 0.3 * (bce(answer.boundary) + bce(answer.frequency)) / 2
        + 0.1 * (overlap - 0.1).clamp_min(0).mean()
        + 0.05 * sum(share * bce(answer.reasoning[:, step]) for step, share in enumerate((1 / 6, 2 / 6, 3 / 6)))
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("locate", [0.0, 1.0])
def test_the_loss_reaches_every_parameter(images, locate):  # 004-5
    torch.manual_seed(0)
    detector = Radar(RADARConfig(**TINY, locate=locate))
    network = detector.build().train()
    mask = torch.rand(4, 4, 4) if locate else torch.full((4, 4, 4), torch.nan)
    detector.loss(network(images), {**BATCH, "mask": mask}).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_evidence_map_is_optional(images):
    detector = Radar(RADARConfig(**TINY, locate=1.0))
    network = detector.build().eval()
    with torch.inference_mode():
        logit, evidence, *rest = network(images)
    assert logit.shape == (4,)
    assert evidence.shape == (4, *detector.evidence_size) == (4, 4, 4)
    assert len(rest) == len(detector.extra_outputs)
    assert Radar(RADARConfig(**TINY)).evidence_size is None


def test_small_pictures_train_too(radar, images):
    radar.train()
    positions = radar.encoder.pos_embed
    torch.testing.assert_close(resampled(positions, 4, 4), positions, atol=0, rtol=0)
    assert resampled(positions, 2, 3).shape == (1, 1 + 6, 48)
    Radar(radar.config).loss(radar(images[:, :, :32, :32]), BATCH).backward()
    assert positions.grad.abs().sum() > 0


def test_groups_blocks_and_layers(radar, images):
    detector = Radar(radar.config)
    groups = detector.param_groups(radar)
    assert list(groups) == ["backbone/embedding", "backbone/1-2", "backbone/norm", "head"]
    parts = [p for name, group in groups.items() if name.startswith("backbone/") for p in group]
    assert {id(p) for p in parts} == {id(p) for p in radar.encoder.parameters()}
    assert {id(p) for p in groups["backbone/1-2"]} == {id(p) for p in radar.encoder.blocks.parameters()}
    assert len(detector.checkpoint_modules(radar)) == 2
    (layer,) = detector.explain_layers(radar)
    seen = []
    layer.module.register_forward_hook(lambda _module, _inputs, output: seen.append(layer.reshape(output)))
    with torch.inference_mode():
        radar(images)
        tokens = seen[0].flatten(2).transpose(1, 2)
    assert seen[0].shape == (4, 48, 4, 4)
    assert tokens.shape == (4, 16, 48)


def written(name, network, config, path):
    """A model file as training writes it: the weights, with the manifest inside."""
    manifest = load(name, untrained=True, device="cpu", config=config).manifest
    save_file(network.state_dict(), path, {MANIFEST_KEY: manifest.model_dump_json()})
    return path


def test_the_library(tmp_path):  # 004-15
    config = RADARConfig(img_size=64, embed_dim=48, evidence_dim=32, reasoning_iterations=2, depth=2, num_heads=3)
    made = RADAR(config).eval()
    found = RADAR.from_pretrained(written("radar", made, config.model_dump(), tmp_path / "radar.safetensors"))
    assert not found.training
    assert found.config == config
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(found(images), made(images))


def test_a_checkpoint_that_does_not_fit_is_refused(radar, tmp_path):
    other = load("lite", untrained=True, device="cpu", config={"image_size": 64}).network
    lite = written("lite", other, {"image_size": 64}, tmp_path / "lite.safetensors")
    with pytest.raises(DeepfakeError, match=r"lite.safetensors: holds the architecture 'lite', not RADAR"):
        RADAR.from_pretrained(lite)
    with pytest.raises(ArtifactCorrupt, match=r"disguised.safetensors"):
        RADAR.from_pretrained(written("radar", other, TINY, tmp_path / "disguised.safetensors"))
    with pytest.raises(ArtifactCorrupt, match=r"deeper.safetensors"):
        RADAR.from_pretrained(written("radar", radar, {**TINY, "depth": 3}, tmp_path / "deeper.safetensors"))


def test_importing_the_package_imports_no_torch():  # 004-15
    code = "import sys, deepfake_radar; print('torch' in sys.modules, deepfake_radar.RADARConfig().img_size)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "224"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"img_size": 225}, "multiple of 16"),
        ({"embed_dim": 100}, "embed_dim=100 is no multiple of num_heads=6"),
        ({"evidence_dim": 30}, "evidence_dim=30 is no multiple of reasoning_heads=4"),
        ({"reasoning_iterations": 0}, "greater than 0"),
    ],
)
def test_impossible_sizes_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        RADARConfig(**setting)
