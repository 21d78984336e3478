"""Write the packaged weights of the tests' ``tiny`` detector: ``python core/tests/make_tiny.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

PLUGIN = Path(__file__).parent / "tiny_plugin"


def main() -> None:
    sys.path.insert(0, str(PLUGIN))
    from deepfake_core import load
    from deepfake_core.discovery.artifacts import write_package
    from deepfake_registry.manifest import MANIFEST_KEY, Calibration

    tiny = load("tiny", untrained=True, seed=1)
    calibration = Calibration(temperature=0.25, bias=-0.5, unsure_low=0.45, unsure_high=0.55)
    tiny.manifest = tiny.manifest.model_copy(update={"calibration": calibration})
    with TemporaryDirectory() as scratch:
        graph, weights = Path(scratch) / "tiny.onnx", Path(scratch) / "tiny.safetensors"
        tiny.export(out=graph)
        save_file(tiny.network.state_dict(), weights, {MANIFEST_KEY: tiny.manifest.model_dump_json()})
        write_package(PLUGIN / "deepfake_tiny" / "weights", tiny.manifest, {"onnx": graph, "safetensors": weights})


if __name__ == "__main__":
    main()
