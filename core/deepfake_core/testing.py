"""The tests that a detector plugin must pass: subclass :class:`DetectorContract` in three lines and run pytest.

Example of a test module::

    from deepfake_core.testing import DetectorContract

    class TestRadar(DetectorContract):
        detector = "radar"

Example of the ``conftest.py`` beside it, which ``pytest --strict-markers`` needs::

    from deepfake_core.testing import pytest_configure

No data and no connection are needed: the images are drawn.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.errors import MissingExtra
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import Frames
from deepfake_core.loading.load import load

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector


MARKERS = (
    "torchscript: tests of the export to TorchScript",
    "openvino: tests of the export to OpenVINO and of its runtime",
)
"""Markers of the contract's tests, as ``pytest --markers`` lists them."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the contract; a ``conftest.py`` that imports this function has pytest call it.

    Args:
        config: Configuration of the test session.
    """
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


class DetectorContract:
    """The tests of one detector, whatever its network is. Override a test only with ``xfail(reason=…)``.

    Attributes:
        detector: Name that the plugin registers.
        config: Hyper-parameters of the network that is tested; by default the documented ones. Smaller ones keep the
            tests quick where the documented network is large.
        recipe: Name of a recipe that trains a few steps.
        tolerance: Largest difference of logits and evidence between runtimes, and between batch sizes.
    """

    detector: ClassVar[str]
    config: ClassVar[Mapping[str, Any]] = {}
    recipe: ClassVar[str] = "smoke"
    tolerance: ClassVar[float] = 1e-4

    @pytest.fixture
    def untrained(self) -> LoadedDetector:
        """Return the detector with random weights, in torch on the CPU."""
        return _untrained(self.detector, json.dumps(self.config, sort_keys=True))

    @pytest.fixture
    def crops(self, untrained: LoadedDetector) -> NDArray[np.uint8]:
        """Return five drawn faces as inputs of the network, uint8 [5, H, W, 3] RGB; for clips [5, T, H, W, 3]."""
        preparer = Preparer(untrained.manifest.preprocess)
        prepared = [preparer.prepare(self.drawn(untrained, seed)) for seed in range(5)]
        return np.concatenate([item.crops[:1] for item in prepared])

    def drawn(self, detector: LoadedDetector, seed: int) -> NDArray[np.uint8] | Frames:
        """Return a drawn face uint8 [H, W, 3] RGB; for detectors of clips, the frames of a face that trembles.

        Args:
            detector: Detector that the face is for.
            seed: Seed for the face.
        """
        clip = detector.manifest.preprocess.clip
        face = draw_face(seed)
        if clip is None:
            return face
        return Frames([np.roll(face, shift, axis=1) for shift in range(clip.length * clip.stride)])

    def test_record_names_what_exists(self, untrained: LoadedDetector) -> None:
        """The record has a summary in one line, the extra that brings torch, and a recipe for tests."""
        spec = detector_spec(self.detector)
        assert spec.summary
        assert "\n" not in spec.summary
        assert spec.install.endswith("]"), "install must name the extra that brings torch"
        assert self.recipe in untrained.detector.recipes

    def test_shapes(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """All outputs are finite float32 arrays with the shapes that the manifest states."""
        outputs = untrained.score(crops)
        assert outputs.logit.shape == (len(crops),)
        assert outputs.logit.dtype == np.float32
        assert np.isfinite(outputs.logit).all()
        found = outputs.by_name()
        assert list(found) == [spec.name for spec in untrained.manifest.outputs]
        for spec in untrained.manifest.outputs:
            assert found[spec.name].shape == (len(crops), *spec.shape[1:]), spec.name
            assert found[spec.name].dtype == np.float32
            assert np.isfinite(found[spec.name]).all(), spec.name

    def test_same_seed_same_network(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """Two untrained networks from one seed return equal logits."""
        again = load(self.detector, untrained=True, device="cpu", config=self.config)
        np.testing.assert_array_equal(untrained.score(crops).logit, again.score(crops).logit)

    def test_batch_size_does_not_matter(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """Outputs do not depend on the other images of a batch."""
        self.assert_close(untrained, untrained, crops, batch_size=1)

    def test_preprocessing_is_the_manifests(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """The network sees images that are prepared as the manifest states."""
        import torch

        spec = untrained.manifest.preprocess
        assert spec == untrained.detector.preprocess
        assert crops.shape == (5, *spec.input_shape)
        normalized = (crops / 255.0 - np.array(spec.normalize.mean)) / np.array(spec.normalize.std)
        with torch.inference_mode():
            output = untrained.network(torch.from_numpy(np.moveaxis(normalized, -1, -3).astype(np.float32)))
        logit = (output[0] if isinstance(output, tuple) else output).numpy()
        np.testing.assert_allclose(logit, untrained.score(crops).logit, atol=self.tolerance)

    def test_learns_a_tiny_batch(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """All gradients are finite, and the loss of four images falls within twelve steps."""
        import torch

        from deepfake_core.contract.detector import WithPreprocess

        torch.manual_seed(0)
        detector = untrained.detector
        model = WithPreprocess(detector.build(), detector.preprocess).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        batch = {"fake": torch.tensor([0.0, 1.0, 0.0, 1.0]), "weight": torch.ones(4)}
        losses = []
        for _ in range(12):
            loss = detector.loss(model(torch.from_numpy(crops[:4])), batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            assert gradients, "the loss reaches no parameter"
            assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
            optimiser.step()
            losses.append(loss.item())
        assert np.mean(losses[-3:]) < losses[0], f"the loss does not fall on four pictures: {losses}"

    def test_every_parameter_has_one_group(self, untrained: LoadedDetector) -> None:
        """The groups of parameters are disjoint and complete."""
        network = untrained.network
        grouped = [id(parameter) for group in untrained.detector.param_groups(network).values() for parameter in group]
        assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())

    def test_train_save_load_export_infer(
        self, untrained: LoadedDetector, crops: NDArray[np.uint8], tmp_path: Path
    ) -> None:
        """A trained network is exported to ONNX, where it returns the same and gives a verdict."""
        clip = untrained.manifest.preprocess.clip
        write_drawn_dataset(tmp_path / "data", frames=clip.length if clip else None)
        data = f"{'frame-folders' if clip else 'image-folder'}:{tmp_path / 'data'}"
        try:
            trained = untrained.train(data, self.recipe, tmp_path / "run", device="cpu")
        except MissingExtra as error:
            pytest.skip(str(error))
        assert trained.manifest.weights == "trained"
        assert trained.manifest.config == untrained.manifest.config
        exported = load(trained.export(out=tmp_path / "model.onnx"), backend="onnxruntime", device="cpu")
        assert exported.runtime.name == "onnxruntime"
        assert exported.manifest == trained.manifest.embedded()
        self.assert_close(trained, exported, crops)
        self.assert_close(trained, exported, crops, batch_size=2)
        (result,) = exported.stream([self.drawn(untrained, 0)])
        assert result.verdict in {"fake", "real", "unsure"}

    def test_exports_to_pt2(self, untrained: LoadedDetector, tmp_path: Path) -> None:
        """A torch.export archive is written; the exporter itself checks its parity with the network."""
        assert untrained.export("pt2", out=tmp_path / "model.pt2").stat().st_size > 0

    @pytest.mark.torchscript
    def test_exports_to_torchscript(self, untrained: LoadedDetector, tmp_path: Path) -> None:
        """A TorchScript file is written; the exporter itself checks its parity with the network."""
        assert untrained.export("torchscript", out=tmp_path / "model.pt").stat().st_size > 0

    @pytest.mark.openvino
    def test_exports_to_openvino(self, untrained: LoadedDetector, crops: NDArray[np.uint8], tmp_path: Path) -> None:
        """The network is exported to OpenVINO, where it returns the same."""
        pytest.importorskip("openvino")
        exported = load(untrained.export("openvino", out=tmp_path / "model.xml"), backend="openvino", device="cpu")
        assert exported.runtime.name == "openvino"
        self.assert_close(untrained, exported, crops, batch_size=2)

    def assert_close(
        self, first: LoadedDetector, second: LoadedDetector, crops: NDArray[np.uint8], batch_size: int | None = None
    ) -> None:
        """Assert that two detectors return the same within the tolerance.

        Args:
            first: Detector that all images are given to at once.
            second: Detector that the images are given to in batches.
            crops: Images as the network sees them, uint8 [N, H, W, 3] RGB; clips [N, T, H, W, 3].
            batch_size: Size of the second detector's batches; by default its own.
        """
        one, other = first.score(crops), second.score(crops, batch_size=batch_size)
        wanted, found = one.by_name(), other.by_name()
        assert wanted.keys() == found.keys()
        for name in wanted:
            np.testing.assert_allclose(wanted[name], found[name], atol=self.tolerance, err_msg=name)


@functools.cache
def _untrained(name: str, config: str) -> LoadedDetector:
    return load(name, untrained=True, device="cpu", config=json.loads(config))


def write_drawn_dataset(folder: Path, count: int = 12, frames: int | None = None) -> None:
    """Write folders ``real/`` and ``fake/`` of drawn faces; the fakes have a blurred mouth.

    Args:
        folder: Folder to write to.
        count: Number of faces of each class.
        frames: Number of frames, for videos instead of images: each is a folder of images of a face that trembles.
    """
    region = (90, 150, 166, 200)
    for seed in range(count):
        for kind in ("real", "fake"):
            face = Image.fromarray(draw_face(seed))
            if kind == "fake":
                face.paste(face.crop(region).filter(ImageFilter.GaussianBlur(3)), region[:2])
            # Videos of one name would show one person, of which a split needs several.
            names = (
                [f"{kind}/{seed}.png"] if frames is None else [f"{kind}/{kind}{seed}/{n}.png" for n in range(frames)]
            )
            for shift, name in enumerate(names):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.roll(np.asarray(face), shift, axis=1)).save(folder / name)
