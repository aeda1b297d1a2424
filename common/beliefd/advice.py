"""Warnings about models that are valid and yet surely not meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from beliefd.model import Model


class ModelWarning(UserWarning):
    """A model is valid, but a part of it can have no effect. The message says which part and what to do."""


def warn(model: Model) -> None:
    """Warns of every such part, on behalf of the caller of `Model`."""
    for message in (*_uninformative(model), *_unreachable(model)):
        warnings.warn(message, ModelWarning, stacklevel=3)


def _uninformative(model: Model) -> Iterator[str]:
    for m, A in enumerate(model.A):
        columns = A.reshape(len(A), -1)
        if model.pA is not None and model.pA[m] is not None:
            # What is learned may start without a difference.
            continue
        if columns.shape[1] > 1 and (columns == columns[:, :1]).all():
            yield (
                f"all columns of A[{m}] are equal, so its observations say nothing about the states; "
                "make the columns differ, or leave the modality out"
            )


def _unreachable(model: Model) -> Iterator[str]:
    for m, (A, C) in enumerate(zip(model.A, model.C, strict=True)):
        possible = A.reshape(len(A), -1).any(axis=1)
        if possible.all() or (model.pA is not None and model.pA[m] is not None):
            continue
        preference = C.reshape(-1, len(A)).max(axis=0)
        o = int(np.argmax(preference))
        if preference[o] > preference[possible].max():
            yield (
                f"C[{m}] prefers observation {o} to all others, but no state gives it: row {o} of A[{m}] is all zero; "
                "move the preference to an observation that can come, or correct A"
            )
