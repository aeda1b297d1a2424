r"""Bayesian model reduction: what the evidence of learned counts would have been under another prior.

With counts p before learning and q after, another prior r would have led to s = q + r - p, and

.. math:: F = \ln B(q) + \ln B(r) - \ln B(p) - \ln B(s)

is by how much its log evidence is lower, per column, B being the multivariate beta function. Below zero, the data speak
for r. Friston, Parr, Zeidman (2018), Bayesian model reduction, arXiv:1805.07092; Friston et al. (2017), Active
inference, curiosity and insight, Neural Comput. 29(10).

Counts are arrays of any shape whose columns, along the first axis, are Dirichlet counts; a count of 0 is an outcome
that cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from beliefd import parts
from beliefd.model import Model
from beliefd_proto.errors import InvalidArgument

__all__ = ["log_beta", "prune", "pruned_model", "reduce"]

Reals = NDArray[np.float64]
_log_gamma = np.frompyfunc(math.lgamma, 1, 1)


def log_beta(counts: ArrayLike) -> Reals:
    """The logarithm of the multivariate beta function of each column, over its counts above 0."""
    array = _counts(counts, "counts")
    above = array > 0.0
    terms = np.where(above, _log_gamma(np.where(above, array, 1.0)), 0.0).astype(np.float64)
    return np.asarray(terms.sum(axis=0) - np.asarray(_log_gamma(array.sum(axis=0)), dtype=np.float64))


def reduce(posterior: ArrayLike, prior: ArrayLike, reduced_prior: ArrayLike) -> tuple[Reals, Reals]:
    """Replace a prior after the fact.

    Parameters
    ----------
    posterior, prior, reduced_prior : array_like, shape (outcomes, ...)
        q, p and r. r may be 0 where nothing was learned.

    Returns
    -------
    F : ndarray, shape (...)
        By how much the log evidence of the reduced prior is lower, nats; infinite where it rules out what was learned.
    reduced_posterior : ndarray, shape (outcomes, ...)
        s, the counts that would have been learned; those of a column with infinite F mean nothing.

    Raises
    ------
    InvalidArgument
        Counts of other shapes, or that are no numbers, negative, not finite, or all 0 in a column.
    """
    q, p, r = _counts(posterior, "posterior"), _counts(prior, "prior"), _counts(reduced_prior, "reduced_prior")
    for field, array in (("posterior", q), ("reduced_prior", r)):
        if array.shape != p.shape:
            raise InvalidArgument("not the shape of the prior", field=field, value=array.shape, allowed=str(p.shape))
    s = np.where((q == p) | (r == p), r + (q - p), q + r - p)
    impossible = (((r == 0.0) & (s > 0.0)) | (s < 0.0)).any(axis=0)
    safe = np.where(impossible, p, s)
    F = log_beta(q) + log_beta(np.where(impossible, p, r)) - log_beta(p) - log_beta(safe)
    return np.where(impossible, np.inf, F), s


def prune(
    posterior: ArrayLike, prior: ArrayLike, threshold: float = 3.0, residue: float = 1 / 32
) -> tuple[Reals, Reals]:
    """Remove the outcomes of which the data say that they do not come.

    In each column, as long as there is one, the outcome goes whose removal the evidence favours most, by more than
    `threshold`. For the comparison its prior count is multiplied by `residue` and not by 0, since soft observations
    leave a little everywhere.

    All columns are pruned together. Those of all agents are too where their axis is moved to the end; moved back, they
    are what `per_agent` of a new population takes.

    Parameters
    ----------
    posterior, prior : array_like, shape (outcomes, ...)
        Counts after and before learning.
    threshold : float
        Log odds in nats, above 0: 3 is 20 to 1.
    residue : float
        In (0, 1).

    Returns
    -------
    posterior, prior : ndarray, shape (outcomes, ...)
        With 0 where an outcome was removed.
    """
    for field, value, high in (("threshold", threshold, math.inf), ("residue", residue, 1.0)):
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float, np.integer, np.floating))
            or not 0.0 < value < high
        ):
            raise InvalidArgument("out of range", field=field, value=value, allowed=f"above 0, below {high}")
    q, p = _counts(posterior, "posterior").copy(), _counts(prior, "prior").copy()
    reduce(q, p, p)
    columns, starts = q.reshape(len(q), -1), p.reshape(len(p), -1)
    going = np.arange(columns.shape[1])
    while going.size:
        now, before = columns[:, going], starts[:, going]
        F = np.empty_like(now)
        for outcome in range(len(now)):
            without = before.copy()
            without[outcome] *= residue
            F[outcome], _ = reduce(now, before, without)
        F[(before == 0.0) | ((before > 0.0).sum(axis=0) == 1)] = np.inf
        best = F.argmin(axis=0)
        favoured = F[best, np.arange(going.size)] < -threshold
        going, best = going[favoured], best[favoured]
        columns[best, going] = starts[best, going] = 0.0
    return q, p


def pruned_model(model: Model, learned: Mapping[str, Any], threshold: float = 3.0, residue: float = 1 / 32) -> Model:
    """The model with the counts of A and B that one agent learned, pruned.

    Parameters
    ----------
    model : Model
        From whose pA and pB the agent started.
    learned : mapping
        ``"pA"`` and ``"pB"`` of one agent: what `Engine.parameters` or `Population.parameters` gives, at its index.
    threshold, residue : float
        As `prune` takes them.

    Returns
    -------
    Model
        Its pA and pB are the pruned counts, its A and B their means.
    """
    if not isinstance(learned, Mapping):
        raise InvalidArgument(
            "counts come by name", field="learned", value=type(learned).__name__, allowed='a mapping with "pA" and "pB"'
        )
    changes: dict[str, Any] = {}
    for name in ("pA", "pB"):
        entries, length = learned.get(name), len(getattr(model, name[1]))
        if entries is None:
            continue
        if not isinstance(entries, (list, tuple)) or len(entries) != length:
            raise InvalidArgument(
                "counts are a list with one entry each, None for what was not learned",
                field=f"learned[{name!r}]",
                value=len(entries) if isinstance(entries, (list, tuple)) else type(entries).__name__,
                allowed=f"{length} entries",
            )
        starts = getattr(model, name) or (None,) * length
        counts, tensors = list(starts), list(getattr(model, name[1]))
        for i, (entry, start) in enumerate(zip(entries, starts, strict=True)):
            if entry is not None and start is not None:
                counts[i], _ = prune(entry, start, threshold, residue)
                tensors[i] = counts[i] / counts[i].sum(axis=0)
        changes |= {name: counts, name[1]: tensors}
    return Model(**(parts.arguments(model.spec(), model.tensors()) | changes))


def _counts(value: ArrayLike, field: str) -> Reals:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"cannot be made into an array ({error})", field=field, allowed="counts") from None
    if array.ndim == 0 or not array.size:
        raise InvalidArgument("not columns of counts", field=field, value=array.shape, allowed="one axis or more")
    bad = ~(np.isfinite(array) & (array >= 0.0))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InvalidArgument("not a count", field=field, index=index, value=float(array[index]), allowed="0 or more")
    empty = array.sum(axis=0) == 0.0
    if np.any(empty):
        index = tuple(int(i) for i in np.argwhere(empty)[0]) if array.ndim > 1 else ()
        raise InvalidArgument("a column is all 0", field=field, index=index, value=0.0, allowed="a count above 0 in it")
    return array
