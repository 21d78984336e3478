"""python judge_mlflow.py MODEL FACE.png …: score face crops with an MLflow model: a folder, or models:/NAME/VERSION."""

import json
import sys

import mlflow
import numpy as np
from PIL import Image

model, *files = sys.argv[1:]
loaded = mlflow.pyfunc.load_model(model)
calibration = loaded.metadata.metadata["deepfake.manifest"]["calibration"]

images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])  # uint8 [N, H, W, 3]
for file, logit in zip(files, loaded.predict(images)["logit"].tolist(), strict=True):
    p_fake = 1 / (1 + np.exp(-(logit / calibration["temperature"] + calibration["bias"])))
    unsure = calibration["unsure_low"] <= p_fake < calibration["unsure_high"]
    verdict = "unsure" if unsure else "fake" if p_fake >= calibration["threshold"] else "real"
    print(json.dumps({"file": file, "logit": logit, "p_fake": p_fake, "verdict": verdict}))
