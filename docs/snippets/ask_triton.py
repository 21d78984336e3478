"""python ask_triton.py URL MANIFEST.json FACE.png …: score face crops by a Triton server."""

import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

url, manifest_file, *files = sys.argv[1:]
manifest = json.loads(Path(manifest_file).read_text(encoding="utf-8"))
calibration = manifest["calibration"]

images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])  # uint8 [N, H, W, 3]
tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape, "data": images.ravel().tolist()}
question = {"inputs": [tensor], "outputs": [{"name": "logit"}]}
where, kind = f"{url}/v2/models/{manifest['name']}/infer", {"Content-Type": "application/json"}
request = Request(where, json.dumps(question).encode(), kind)
with urlopen(request) as answer:
    (logits,) = json.load(answer)["outputs"]  # FP32 [N, 1]
for file, logit in zip(files, logits["data"], strict=True):
    p_fake = 1 / (1 + np.exp(-(logit / calibration["temperature"] + calibration["bias"])))
    unsure = calibration["unsure_low"] <= p_fake < calibration["unsure_high"]
    verdict = "unsure" if unsure else "fake" if p_fake >= calibration["threshold"] else "real"
    print(json.dumps({"file": file, "logit": logit, "p_fake": p_fake, "verdict": verdict}))
