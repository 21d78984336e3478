"""Explainers: heat maps of where a detector looked.

* :mod:`~deepfake_core.explainers.base`: the base class, :class:`Explainer`.
* :mod:`~deepfake_core.explainers.choose`: find an explainer by name, or the one that suits a detector.
* :mod:`~deepfake_core.explainers.evidence`, ``gradcam``, ``rollout``, ``perturb``: the methods.
* :mod:`~deepfake_core.explainers.sheets`, ``overlay``, ``film``: their pictures.
"""

from deepfake_core.explainers.base import Explainable, Explainer, Target
from deepfake_core.explainers.choose import default_method, load_explainer, suitable_method

__all__ = ["Explainable", "Explainer", "Target", "default_method", "load_explainer", "suitable_method"]
