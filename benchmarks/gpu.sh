#!/bin/sh
# Measure training and inference on a GPU within some minutes, the most telling figures first, into one JSON file.
#
#   sh benchmarks/gpu.sh --pack FOLDER      where there is a network: collect what travels to the GPU's machine
#   sh FOLDER/gpu.sh --json gpu.json        there, with a Python that has torch; no network is needed
#   sh benchmarks/gpu.sh --json gpu.json    in a checkout whose environment has this project and the detectors
#
# --help lists the options. PYTHON names the Python to use; by default python3.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}
if [ "${1:-}" = --pack ]; then
    shift
    exec "$python" "$here/gpu_pack.py" "$@"
fi
if [ -d "$here/own" ]; then
    # Wheels are installed beside the Python's own packages, not among them: these may be read-only or belong to the
    # system, and the Python may be that of an environment, whose packages no new environment would see.
    site=$here/site
    [ -w "$here" ] || site=$(mktemp -d)
    "$python" - "$here" "$site" <<'INSTALL'
import importlib.metadata, pathlib, shutil, subprocess, sys

here, site = map(pathlib.Path, sys.argv[1:])
wheels = [*(here / "own").glob("*.whl")]
for need in (here / "needs").iterdir():  # a folder holds a package that may be missing, and what it cannot do without
    try:
        importlib.metadata.version(need.name)
    except importlib.metadata.PackageNotFoundError:
        wheels += need.glob("*.whl")
shutil.rmtree(site, ignore_errors=True)
pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
sys.exit(subprocess.run([*pip, "--no-compile", "--target", site, *wheels]).returncode)
INSTALL
    PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
    export PYTHONPATH
fi
exec "$python" -W ignore -m deepfake_bench.runner.gpu "$@"
