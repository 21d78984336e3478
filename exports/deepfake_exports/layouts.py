"""Write an exported ONNX file as the folder of a model server: a Triton model repository, or an MLflow model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepfake_core.discovery.artifacts import read_bare
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_registry.files import new_folder
from deepfake_registry.manifest import MANIFEST_FILE, MANIFEST_KEY, ModelManifest, TensorSpec

MAX_BATCH = 32
"""Largest number of images, or clips, that a Triton server joins into one batch."""
_TRITON_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def write_triton(model: str | Path, repository: str | Path, *, max_batch: int = MAX_BATCH) -> Path:
    """Add a model to a Triton model repository: ``NAME/1/model.onnx``, ``NAME/config.pbtxt``, ``NAME/manifest.json``.

    Args:
        model: Exported ``.onnx`` file; it is copied unchanged.
        repository: Folder of the repository; it is created when it does not exist, and other models in it stay.
        max_batch: Largest number of inputs that the server may join into one batch, at least 1.

    Returns:
        Folder of the model, ``repository/NAME``, where NAME is the manifest's name.

    Raises:
        InputError: The file does not exist.
        ArtifactCorrupt: It cannot be read, or carries no manifest.
        DeepfakeError: The file is not ONNX, or the repository already has a model of that name.
    """
    manifest = _manifest(model)
    target = Path(repository) / manifest.name
    with new_folder(target) as folder:
        (folder / "1").mkdir()
        shutil.copyfile(model, folder / "1" / "model.onnx")
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "config.pbtxt").write_text(triton_config(manifest, max_batch), encoding="utf-8")
    return target


def triton_config(manifest: ModelManifest, max_batch: int = MAX_BATCH) -> str:
    """Return the text of a ``config.pbtxt``: Triton's ``ModelConfig`` in protobuf's text format.

    Args:
        manifest: Manifest of the model.
        max_batch: Largest number of inputs that the server may join into one batch, at least 1.

    Raises:
        ValueError: ``max_batch`` is less than 1.
    """
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, got {max_batch}")
    head = [
        f"name: {_quoted(manifest.name)}",
        'backend: "onnxruntime"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {max_batch}",
        "version_policy { latest { num_versions: 1 } }",
        "dynamic_batching { }",
    ]
    tensors = [f"input {_tensor(spec)}" for spec in manifest.inputs]
    tensors += [f"output {_tensor(spec)}" for spec in manifest.outputs]
    return "\n".join([*head, *tensors, ""])


def _tensor(spec: TensorSpec) -> str:
    """Describe one input or output; Triton leaves out the batch axis, and needs a dimension where no other is left."""
    dims = [str(length) if isinstance(length, int) else "-1" for length in spec.shape[1:]]
    shape = f"dims: [ {', '.join(dims)} ]" if dims else "dims: [ 1 ] reshape { shape: [ ] }"
    return f"{{ name: {_quoted(spec.name)} data_type: {_TRITON_TYPES[spec.dtype]} {shape} }}"


def _quoted(text: str) -> str:
    """Return a string of protobuf's text format, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def write_mlflow(model: str | Path, folder: str | Path) -> Path:
    """Write an MLflow model of the flavours ``onnx`` and ``python_function``, with its signature.

    The manifest is copied to the model's metadata and stays inside the ONNX file. The model runs on the CPU.

    Args:
        model: Exported ``.onnx`` file.
        folder: Folder to write; it is created when it does not exist.

    Returns:
        ``folder``.

    Raises:
        InputError: The file does not exist.
        ArtifactCorrupt: It cannot be read, or carries no manifest.
        MissingExtra: The ``mlflow`` or the ``onnx`` package is absent.
        DeepfakeError: The file is not ONNX, or the folder is not empty.
    """
    manifest = _manifest(model)
    try:
        import mlflow.onnx
        import onnx
    except ModuleNotFoundError:
        raise MissingExtra("writing an MLflow model", "deepfake-core[track]") from None
    import numpy
    import onnxruntime

    signature = mlflow.models.ModelSignature(_schema(manifest.inputs), _schema(manifest.outputs))
    needs = (mlflow, numpy, onnx, onnxruntime)
    with new_folder(folder) as scratch:
        mlflow.onnx.save_model(
            onnx.load(model),
            str(scratch),
            signature=signature,
            # Without this list MLflow would load the model in another process to find its requirements.
            pip_requirements=[f"{module.__name__}=={module.__version__}" for module in needs],
            onnx_execution_providers=["CPUExecutionProvider"],
            metadata={MANIFEST_KEY: manifest.model_dump(mode="json")},
            save_as_external_data=False,
        )
    return Path(folder)


def _schema(tensors: tuple[TensorSpec, ...]) -> Any:
    """Return MLflow's ``Schema``, in which -1 is a dynamic dimension."""
    import mlflow
    import numpy as np

    def tensor(spec: TensorSpec) -> Any:
        shape = tuple(length if isinstance(length, int) else -1 for length in spec.shape)
        return mlflow.types.TensorSpec(np.dtype(spec.dtype), shape, spec.name)

    return mlflow.types.Schema([tensor(spec) for spec in tensors])


def _manifest(model: str | Path) -> ModelManifest:
    artifact = read_bare(model)
    if artifact.format != "onnx":
        raise DeepfakeError(f"{model}: a layout holds an ONNX file; export it first: dfbench export")
    return artifact.manifest


LAYOUTS: dict[str, Callable[[str | Path, str | Path], Path]] = {"triton": write_triton, "mlflow": write_mlflow}
"""Name of a layout → function that writes an ONNX file to a folder in this layout."""
