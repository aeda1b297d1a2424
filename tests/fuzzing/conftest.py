from __future__ import annotations

import sys
from pathlib import Path

# What is run by its path belongs to no installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
