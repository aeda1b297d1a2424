"""Everything that one demonstration measured."""

from __future__ import annotations

from dataclasses import dataclass

from demos.lake import LakeResult
from demos.maze import MazeResult
from demos.noisy_lake import NoisyLakeResult
from demos.table import Figure
from demos.threads import ThreadsResult


@dataclass(frozen=True)
class Results:
    """What the worlds gave, and by how many workers."""

    workers: int
    maze: MazeResult
    threads: ThreadsResult
    lake: LakeResult
    noisy: NoisyLakeResult

    def figures(self) -> list[Figure]:
        parts = (self.maze, self.threads, self.lake, self.noisy)
        return [figure for part in parts for figure in part.figures()]
