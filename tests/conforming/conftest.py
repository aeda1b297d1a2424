from __future__ import annotations

import sys
from pathlib import Path

# The comparisons are run by their path and belong to no installed package.
_CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_CHECKOUT / "scripts"), str(_CHECKOUT / "tests" / "references")]
