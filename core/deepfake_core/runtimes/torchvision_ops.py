"""Let torchvision be imported beside a torch build that its compiled operators do not fit.

torchvision's wheels carry operators compiled for one torch build. Beside another one (typically a CUDA build of
torchvision next to a CPU build of torch) the operators are absent, and importing torchvision fails with
``operator torchvision::nms does not exist``, which takes timm and transformers down with it. Declaring the two
schemas that torchvision registers fake kernels for is enough: nothing here ever calls them.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def ensure_torchvision() -> Any:
    """Make ``import torchvision`` work; call it before importing timm, transformers or torchvision.

    Returns:
        The library handle that keeps the schemas alive, or ``None`` where the compiled operators are in order.
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
