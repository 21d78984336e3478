"""SigLIP's vision tower with a classifier of two classes, as the Transformers library builds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepfake_core import (
    ArtifactCorrupt,
    Detector,
    DetectorConfig,
    ExplainLayer,
    FaceCrop,
    PreprocessSpec,
    Repository,
    Resize,
    TensorSpec,
    TrainRecipe,
    WholeImage,
    ensure_torchvision,
    find_repository,
    two_phase,
)
from deepfake_siglip.config import ARCHITECTURE, CONFIG, SiglipConfig, read_config
from deepfake_siglip.plugin import INSTALL

ensure_torchvision()
from transformers.models.siglip import configuration_siglip  # noqa: E402 - torchvision must be importable first
from transformers.models.siglip.modeling_siglip import SiglipForImageClassification  # noqa: E402

TOWER = "vision_model."
CLASSIFIER = ("classifier.weight", "classifier.bias")
ADVICE = (
    "run: {fetch}",
    "start from another repository or folder: --set config.pretrained_from=NAME",
    "start from random weights: --set pretrained=false",
)

# The classifier is trained first, on frozen features, then everything, the tower at a learning rate that is a hundred
# times smaller. The lengths are this project's choice: the published system only predicts, it does not train.
DEFAULT = two_phase(32, 1, 5).model_copy(update={"precision": "auto", "patience": 3})


class SiglipNetwork(nn.Module):
    """SigLIP's classifier: patches, transformer, mean of the tokens, one logit for each class.

    Its tensors have the names that published weights have. The tower's attention-pooling head is among them and never
    runs.

    Args:
        config: Hyper-parameters of the network.
    """

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        model: Any = SiglipForImageClassification(_described(config))
        # The parts of the tower keep their names, without the library's model around them, which cannot be traced.
        self.vision_model = nn.Module()
        for name, part in model.vision_model.named_children():
            self.vision_model.add_module(name, part)
        # The tower looks its positions up by these numbers 0, 1, 2 …; here all positions are added without a look-up.
        del model.vision_model.embeddings.position_ids
        self.classifier = model.classifier
        self.labels = config.labels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits float32 [N] and the logits of both classes [N, 2], fake first, for float32 [N, 3, H, W]."""
        tower: Any = self.vision_model
        patches = tower.embeddings.patch_embedding(images).flatten(2).transpose(1, 2)
        tokens = tower.encoder(inputs_embeds=patches + tower.embeddings.position_embedding.weight).last_hidden_state
        classes = self.classifier(tower.post_layernorm(tokens).mean(1))
        fake, real = classes[:, self.labels.fake], classes[:, self.labels.real]
        return fake - real, torch.stack([fake, real], dim=1)


class Siglip(Detector):
    """A detector of the architecture ``SiglipForImageClassification`` with two classes."""

    Config = SiglipConfig
    config: SiglipConfig
    recipes: ClassVar[Mapping[str, TrainRecipe]] = {"default": DEFAULT, "smoke": DEFAULT.smoke()}
    extra_outputs = (TensorSpec(name="logits", dtype="float32", shape=("N", 2)),)

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        side, margin = self.config.image_size, self.config.margin
        self.preprocess = PreprocessSpec(
            crop=WholeImage() if margin is None else FaceCrop(margin=margin),
            resize=Resize(height=side, width=side, interpolation=self.config.interpolation),
            normalize=self.config.normalize,
        )

    @classmethod
    def from_repository(cls, repository: Repository) -> tuple[SiglipConfig, dict[str, Tensor]]:
        return read_config(repository), repository.tensors()

    def build(self) -> nn.Module:
        return SiglipNetwork(self.config)

    def init_pretrained(self, network: nn.Module, *, download: bool = False) -> None:
        """Load the tower of ``config.pretrained_from``, and its classifier where it has one.

        Raises:
            WeightsUnavailable: The repository is not on this machine, or cannot be downloaded.
            ArtifactCorrupt: The repository's tower does not fit the network.
        """
        repository = find_repository(self.config.pretrained_from, download=download, install=INSTALL, advice=ADVICE)
        stored = repository.tensors()
        state = {name: value for name, value in stored.items() if name.startswith(TOWER)}
        if ARCHITECTURE in (repository.json(CONFIG).get("architectures") or ()):
            order = [0, 1] if read_config(repository).labels == self.config.labels else [1, 0]
            state |= {name: stored[name][order] for name in CLASSIFIER if name in stored}
        own = network.state_dict()
        wanted = {name for name in own if name.startswith(TOWER)}
        if missing := sorted(wanted - set(state)):
            raise ArtifactCorrupt(f"{repository.name}: has no {missing[0]}, and is no start for this network")
        for name, value in own.items():
            if name in state and state[name].shape != value.shape:
                raise ArtifactCorrupt(
                    f"{repository.name}: {name} is {list(state[name].shape)}, this network's is {list(value.shape)}; "
                    "change config.pretrained_from, or the network to fit it"
                )
        network.load_state_dict({name: state.get(name, value) for name, value in own.items()})

    def param_groups(self, network: nn.Module) -> dict[str, list[nn.Parameter]]:
        return {
            "backbone": list(network.get_submodule("vision_model").parameters()),
            "head": list(network.get_submodule("classifier").parameters()),
        }

    def checkpoint_modules(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(network.get_submodule("vision_model.encoder.layers").children())

    def explain_layers(self, network: nn.Module) -> tuple[ExplainLayer, ...]:
        side = self.config.image_size // self.config.patch_size
        last = self.checkpoint_modules(network)[-1]

        # The layer is the normalised input of the last block, because every token of the block's output has the same
        # weight in the mean. There is no class token to leave out.
        def as_map(tokens: Tensor) -> Tensor:
            return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)

        return (ExplainLayer(last.get_submodule("layer_norm1"), as_map),)

    def attention_layers(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(layer.get_submodule("self_attn") for layer in self.checkpoint_modules(network))


def _described(config: SiglipConfig) -> Any:
    """Return the hyper-parameters as a configuration of the Transformers library."""
    vision = configuration_siglip.SiglipVisionConfig(
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_act=config.activation,
        layer_norm_eps=config.layer_norm_eps,
        vision_use_head=config.pooling_head,
    )
    # There is no text tower. The library would warn that these default numbers do not fit its default vocabulary.
    text = configuration_siglip.SiglipTextConfig(bos_token_id=None, eos_token_id=None)
    # Eager attention: the library's fused attention asks for the length of its input, which cannot be traced.
    described: Any = configuration_siglip.SiglipConfig
    return described(
        vision_config=vision.to_dict(), text_config=text.to_dict(), num_labels=2, attn_implementation="eager"
    )
