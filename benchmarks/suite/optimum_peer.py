"""What ``optimum`` makes of the architectures here; ``exported.py`` runs this in optimum's own environment.

optimum's exporter wants an older transformers than the detectors do, so it lives apart and imports nothing of this
project::

    python3 -m venv optimum
    optimum/bin/pip install "optimum-onnx[onnxruntime]" "torch==2.13.0+cpu"
    optimum/bin/python benchmarks/suite/optimum_peer.py FOLDER siglip cvt radar

Take the very version of torch that the detectors run with (``python -c "import torch; print(torch.__version__)"``).

Each network has random weights, on which speed does not depend. FOLDER gets ``NAME/model.onnx`` (fp32) and what
``ORTQuantizer`` makes of it for this processor: ``NAME/dynamic/model_quantized.onnx`` and ``NAME/static/…``. All take
``pixel_values`` float32 ``[N, 3, H, W]``, normalised.

optimum knows ``siglip`` only as a pair of a text and a picture tower, so the classifier is registered with it.
``radar`` stands for its encoder alone, ViT-S/16: the least that the whole network has to do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from optimum.exporters.onnx import main_export  # type: ignore[import-not-found]
from optimum.exporters.onnx.model_configs import SiglipOnnxConfig, ViTOnnxConfig  # type: ignore[import-not-found]
from optimum.exporters.tasks import TasksManager  # type: ignore[import-not-found]
from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer  # type: ignore[import-not-found]
from optimum.onnxruntime.configuration import (  # type: ignore[import-not-found]
    CalibrationConfig,
    CalibrationMethod,
)

TASK = "image-classification"
SIDES = {"siglip": 224, "cvt": 256, "radar": 224}
"""Name → pixels of the square input that the detector of that name takes."""
CALIBRATION_IMAGES = 8


@TasksManager.create_register("onnx")("siglip", TASK)
class SiglipClassifier(ViTOnnxConfig):  # type: ignore[misc]
    """One picture in, classes out; its sizes lie where those of the pair lie."""

    NORMALIZED_CONFIG_CLASS = SiglipOnnxConfig.NORMALIZED_CONFIG_CLASS


def network(name: str) -> Any:
    """The architecture of a detector, with random weights."""
    models: Any = transformers
    if name == "siglip":
        return models.SiglipForImageClassification(models.SiglipConfig(num_labels=2))
    if name == "cvt":
        return models.CvtForImageClassification(models.CvtConfig(num_labels=2))
    small = models.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=2)
    return models.ViTForImageClassification(small)


def export(name: str, folder: Path) -> None:
    """Write a random model, its fp32 export and both int8 forms."""
    made, out, side = folder / f"{name}-torch", folder / name, SIDES[name]
    network(name).save_pretrained(made)
    main_export(str(made), out, task=TASK, do_validation=False, height=side, width=side)
    quantise(out, side)


def quantise(folder: Path, side: int) -> None:
    """Dynamic and static int8 of ``model.onnx``, by optimum's preset for this processor."""
    info = Path("/proc/cpuinfo")
    known = info.is_file() and "avx512_vnni" in info.read_text()
    preset = AutoQuantizationConfig.avx512_vnni if known else AutoQuantizationConfig.avx2
    quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
    quantizer.quantize(save_dir=folder / "dynamic", quantization_config=preset(is_static=False))
    static = preset(is_static=True)
    pictures = np.random.default_rng(0).uniform(-1, 1, (CALIBRATION_IMAGES, 3, side, side)).astype(np.float32)
    samples = [{"pixel_values": picture} for picture in pictures]
    calibration = CalibrationConfig("noise", "", "", len(samples), CalibrationMethod.MinMax)
    ranges = quantizer.fit(
        dataset=samples,
        calibration_config=calibration,
        onnx_augmented_model_name=folder / "augmented.onnx",
        operators_to_quantize=static.operators_to_quantize,
    )
    quantizer.quantize(save_dir=folder / "static", calibration_tensors_range=ranges, quantization_config=static)


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        export(wanted, Path(sys.argv[1]))
