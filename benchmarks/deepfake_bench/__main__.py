"""``python -m deepfake_bench`` is ``dfbench``."""

from deepfake_bench.cli import main

if __name__ == "__main__":
    main()
