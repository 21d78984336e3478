"""python judge.py MODEL.onnx FACE.png …: score face crops with onnxruntime, numpy and pillow only."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, *files = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
manifest = json.loads(session.get_modelmeta().custom_metadata_map["deepfake.manifest"])
calibration = manifest["calibration"]

images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])  # uint8 [N, H, W, 3]
(logits,) = session.run(["logit"], {"images": images})
for file, logit in zip(files, logits.tolist(), strict=True):
    p_fake = 1 / (1 + np.exp(-(logit / calibration["temperature"] + calibration["bias"])))
    unsure = calibration["unsure_low"] <= p_fake < calibration["unsure_high"]
    verdict = "unsure" if unsure else "fake" if p_fake >= calibration["threshold"] else "real"
    print(json.dumps({"file": file, "logit": logit, "p_fake": p_fake, "verdict": verdict}))
