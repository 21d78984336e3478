"""Exports of the architectures by ``optimum``; ``exported.py`` and ``peers.py`` run this in its own environment.

The exporter of optimum needs an older transformers than the detectors do, so this script has an environment of its own
and imports nothing of this project::

    python3 -m venv optimum
    optimum/bin/pip install "optimum-onnx[onnxruntime]" pillow "torch==2.13.0+cpu"
    optimum/bin/python benchmarks/suite/optimum_peer.py FOLDER siglip cvt radar

Take the very version of torch that the detectors run with (``python -c "import torch; print(torch.__version__)"``).

Each network has random weights, on which speed does not depend. FOLDER gets ``NAME/model.onnx`` (fp32) and what
``ORTQuantizer`` makes of it for this processor: ``NAME/dynamic/model_quantized.onnx`` and ``NAME/static/…``. All take
``pixel_values`` float32 ``[N, 3, H, W]``, normalised.

optimum knows ``siglip`` only as a pair of a text and an image encoder, so the classifier is registered with it.
``radar`` stands for its encoder alone, ViT-S/16: the least work that the whole network has.

With ``--serve PICTURE``, only the fp32 file is made. Then each line ``file`` on standard input makes it score the
image from its file, each line ``network`` makes it run the network once; it answers ``done`` when it is done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from hugging_face import SIDES, TASK, network, pipeline, processor
from optimum.exporters.onnx import main_export  # type: ignore[import-not-found]
from optimum.exporters.onnx.model_configs import SiglipOnnxConfig, ViTOnnxConfig  # type: ignore[import-not-found]
from optimum.exporters.tasks import TasksManager  # type: ignore[import-not-found]
from optimum.onnxruntime import (  # type: ignore[import-not-found]
    AutoQuantizationConfig,
    ORTModelForImageClassification,
    ORTQuantizer,
)
from optimum.onnxruntime.configuration import (  # type: ignore[import-not-found]
    CalibrationConfig,
    CalibrationMethod,
)

CALIBRATION_IMAGES = 8


@TasksManager.create_register("onnx")("siglip", TASK)
class SiglipClassifier(ViTOnnxConfig):  # type: ignore[misc]
    """Export settings of a classifier of one image; its sizes are where those of the pair are."""

    NORMALIZED_CONFIG_CLASS = SiglipOnnxConfig.NORMALIZED_CONFIG_CLASS


def export(name: str, folder: Path) -> Path:
    """Write a random model and its fp32 export; return the folder of the export."""
    made, out, side = folder / f"{name}-torch", folder / name, SIDES[name]
    network(name).save_pretrained(made)
    main_export(str(made), out, task=TASK, do_validation=False, height=side, width=side)
    return out


def quantise(folder: Path, side: int) -> None:
    """Write dynamic and static int8 files of ``model.onnx``, by optimum's preset for this processor."""
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


def serve(name: str, folder: Path, picture: str, threads: int) -> None:
    """Obey each line of standard input, with the classes that the guide of optimum names."""
    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForImageClassification.from_pretrained(folder, session_options=options)
    judge = pipeline(model, processor(name, SIDES[name]))
    pixels = torch.randn(1, 3, SIDES[name], SIDES[name])
    calls = {"file": lambda: judge(picture), "network": lambda: model(pixel_values=pixels)}
    print("done", flush=True)
    for line in sys.stdin:
        calls[line.strip()]()
        print("done", flush=True)


def main() -> None:
    """Export the networks, and quantise or serve them."""
    parser = argparse.ArgumentParser(description="what optimum makes of the architectures here")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", choices=tuple(SIDES))
    parser.add_argument("--serve", metavar="PICTURE", help="score this image on request, by the only network named")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for name in options.names:
        exported = export(name, options.folder)
        if options.serve is None:
            quantise(exported, SIDES[name])
        else:
            serve(name, exported, options.serve, options.threads)


if __name__ == "__main__":
    main()
