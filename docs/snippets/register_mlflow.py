"""python register_mlflow.py FOLDER NAME: put an MLflow model into the registry at MLFLOW_TRACKING_URI."""

import sys

import mlflow

folder, name = sys.argv[1:]
with mlflow.start_run() as run:
    mlflow.log_artifacts(folder, "model")
mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
