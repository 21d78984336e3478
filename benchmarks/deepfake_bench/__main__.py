"""``python -m deepfake_bench`` runs the same program as ``dfbench``."""

from deepfake_bench.cli import main

if __name__ == "__main__":
    main()
