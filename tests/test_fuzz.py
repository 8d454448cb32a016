"""A few runs of the fuzzer; `make fuzz` makes 2,000."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer forks and limits memory as Linux does")
def test_damaged_files_end_in_one_sentence() -> None:
    command = [sys.executable, "-m", "fuzz.fuzz", "--runs", "40", "--seed", "7"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=600)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
