"""Find an explainer by name, or the one that suits a detector."""

from __future__ import annotations

from importlib.util import find_spec

from deepfake_core.discovery import plugins
from deepfake_core.errors import DeepfakeError
from deepfake_core.explainers.base import Explainable, Explainer, Target, with_network
from deepfake_core.runtimes.torch_side import install_of


def load_explainer(name: str, detector: Explainable) -> Explainer:
    """Construct an installed explainer.

    Args:
        name: Name under which a plugin offers it.
        detector: Model that is to be explained; its plugin says which extra brings torch.

    Raises:
        DeepfakeError: No plugin offers the name.
        MissingExtra: A package that the explainer needs is not installed.
    """
    known = plugins.explainers()
    if name not in known:
        raise DeepfakeError(f"unknown explainer {name!r}; installed: {', '.join(known)}")
    explainer: Explainer = plugins.import_object(known[name].spec.explainer, install=install_of(detector.spec))()
    return explainer


def default_method(detector: Explainable, target: Target = "predicted") -> str | None:
    """Name the explainer that shows a network best: its evidence map, else GradCAM; ``None`` where it offers neither.

    Raises:
        DeepfakeError: The network would be needed to know, and is not at hand: there is only an exported file, torch
            is not installed, or the model is an ensemble.
    """
    if target != "real" and any(output.name == "evidence" for output in detector.manifest.outputs):
        return "evidence"
    model = with_network(detector)
    return "gradcam" if model.detector.explain_layers(model.network) else None


def suitable_method(detector: Explainable, target: Target = "predicted") -> str:
    """Name an explainer that runs here: :func:`default_method`'s, or occlusion, which needs nothing but the score."""
    try:
        method = default_method(detector, target)
    except DeepfakeError:
        method = None
    return "occlusion" if method is None or (method == "gradcam" and not find_spec("pytorch_grad_cam")) else method
