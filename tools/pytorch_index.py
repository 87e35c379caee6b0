"""Print pip's arguments for PyTorch's CPU build, which is 4 GB smaller; nothing where it is not wanted or not there.

A machine with an NVIDIA GPU gets the usual build. Whether an index has the CPU build is found by a dry run of pip.

    pip install $(python tools/pytorch_index.py [INDEX]) '.[train]'
"""

import contextlib
import re
import subprocess
import sys

INDEX = "https://download.pytorch.org/whl/cpu"
_SECONDS = 5
"""Time to answer of an index."""


def arguments(index: str = INDEX) -> list[str]:
    """Return the arguments that let pip find the CPU build, beside the indexes in use."""
    wanted = ["--extra-index-url", index]
    if _has_gpu():
        return []
    dry_run = ["--dry-run", "--ignore-installed", "--no-deps", "--disable-pip-version-check"]
    patience = ["--timeout", str(_SECONDS), "--retries", "0"]
    command = [sys.executable, "-m", "pip", "install", *dry_run, *patience, *wanted, "torch"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20 * _SECONDS, check=False)
        return wanted if re.search(r"Would install torch-\S+\+cpu", done.stdout) else []
    return []


def _has_gpu() -> bool:
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


if __name__ == "__main__":
    print(*arguments(*sys.argv[1:]))
