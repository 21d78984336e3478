from __future__ import annotations

from torch import Tensor, nn

from deepfake_core.contract.detector import Detector, DetectorConfig
from deepfake_core.contract.recipe import Phase, TrainRecipe
from deepfake_registry.manifest import FaceCrop, Normalize, PreprocessSpec, Resize


class TinyConfig(DetectorConfig):
    width: int = 8
    side: int = 64


class TinyNetwork(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=4), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU()
        )
        self.evidence = nn.Conv2d(width, 1, 1)
        self.head = nn.Linear(width, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.head(features.mean((2, 3))).squeeze(1), self.evidence(features).squeeze(1)


class Tiny(Detector):
    Config = TinyConfig
    config: TinyConfig
    recipes = {
        "smoke": TrainRecipe(phases=(Phase(steps=2),), batch_size=4, eval_every=2, workers=0),
    }

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__(config)
        side = self.config.side
        self.evidence_size = (side // 8, side // 8)
        self.preprocess = PreprocessSpec(
            crop=FaceCrop(),
            resize=Resize(height=side, width=side),
            normalize=Normalize(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        )

    def build(self) -> nn.Module:
        return TinyNetwork(self.config.width)
