from __future__ import annotations

import sys
from pathlib import Path

# The measurements are run by their path and belong to no installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
