"""First inferences of several threads at once; each in a process of its own, in which OpenVINO was never used."""

import subprocess
import sys

import pytest

FIRST = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
import numpy as np
from deepfake_core.runtimes.openvino import openvino

x = openvino.op.Parameter(openvino.Type.f32, openvino.Shape([1]))
model = openvino.Core().compile_model(openvino.Model([openvino.opset13.relu(x)], [x]), "CPU")
requests = [model.create_infer_request() for _ in range(4)]
begin = threading.Barrier(4)
sys.setswitchinterval(1e-7)

def infer(request):
    begin.wait()
    request.infer({0: np.ones(1, np.float32)})

threads = [threading.Thread(target=infer, args=(request,)) for request in requests]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("attempt", range(6))
def test_threads_may_begin_at_the_same_time(attempt: int) -> None:
    """Without care, about half of such processes wait for ever."""
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
