"""The detector: hyper-parameters, preprocessing, recipes and network."""

from pydantic import Field
from torch import nn

from deepfake_core import Detector, DetectorConfig, FaceCrop, Normalize, Phase, PreprocessSpec, Resize, TrainRecipe


class TemplateConfig(DetectorConfig):
    """Hyper-parameters of :class:`Template`."""

    width: int = Field(16, gt=0, description="channels of the first convolution")


class Template(Detector):
    """Four strided convolutions, an average and a linear layer."""

    Config = TemplateConfig
    preprocess = PreprocessSpec(
        crop=FaceCrop(margin=1.3),
        resize=Resize(height=128, width=128),
        normalize=Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    )
    recipes = {
        "default": TrainRecipe(phases=(Phase(epochs=20, lr=1e-3),)),
        "smoke": TrainRecipe().smoke(),
    }

    def build(self):
        layers, channels = [], 3
        for width in (self.config.width * factor for factor in (1, 2, 4, 8)):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1), nn.Flatten(0)]
        return nn.Sequential(*layers, *pooled)
