"""TorchRL's contract, in a process of its own: TorchRL imports every simulator it can find."""

import subprocess
import sys
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "support" / "torchrl_contract.py"


def test_dreams_of_both_families_keep_torchrls_contract() -> None:
    command = [sys.executable, "-m", "pytest", str(CONTRACT), "-q", "-W", "ignore"]
    found = subprocess.run(
        [*command, "-p", "no:cacheprovider"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "passed" in found.stdout and "skipped" not in found.stdout
