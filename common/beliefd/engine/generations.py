"""Where the checkpoints and journals of a population stand in its folder.

``checkpoints/<k>/`` is checkpoint k, and ``journal/<k>/`` what was journalled after it; ``journal/0/`` is what came
after the population was made.
"""

from __future__ import annotations

from pathlib import Path

from beliefd.engine.store import sync_folder


def checkpoint_folder(folder: Path, number: int) -> Path:
    """The folder of a checkpoint."""
    return folder / "checkpoints" / f"{number:08}"


def checkpoint_numbers(folder: Path) -> list[int]:
    """The numbers of a population's checkpoints, ascending."""
    return sorted(int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdecimal())


def last_generation(folder: Path) -> int:
    """The generation in which a population is journalled: the number of its last checkpoint, 0 without."""
    return max(checkpoint_numbers(folder), default=0)


def generation_folder(folder: Path, generation: int) -> Path:
    """The folder of a generation's segments."""
    return folder / "journal" / f"{generation:08}"


def make_generation(folder: Path, generation: int) -> None:
    """Make the folder for a generation's segments. Without it the generation counts as lost."""
    journal = generation_folder(folder, generation)
    journal.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_folder(journal.parent)


def size_bytes(folder: Path) -> int:
    """What the files in a folder take; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.glob("*"))
