"""Make torchvision importable beside a build of torch that its compiled operators do not fit.

The wheels of torchvision contain operators that were compiled for one build of torch. With another build (typically a
CUDA build of torchvision beside a CPU build of torch) the operators cannot be loaded, and the import of torchvision
fails with ``operator torchvision::nms does not exist``; so do those of timm and transformers. It is enough to declare
the two schemas for which torchvision registers fake kernels, since this project never calls them.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def ensure_torchvision() -> Any:
    """Make ``import torchvision`` work; to be called before timm, transformers or torchvision is imported.

    Returns:
        Handle that keeps the schemas alive; ``None`` if the compiled operators work or torchvision is not installed.
    """
    import importlib.util

    import torch

    if importlib.util.find_spec("torchvision") is None or hasattr(torch.ops.torchvision, "nms"):
        return None
    if _compiled_operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return library


def _compiled_operators_load() -> bool:
    import importlib.util
    from pathlib import Path

    import torch

    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    for path in (path for path in Path(spec.origin).parent.glob("_C*") if path.suffix in {".so", ".pyd"}):
        try:
            torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
        except OSError:
            return False
        return True
    return False
