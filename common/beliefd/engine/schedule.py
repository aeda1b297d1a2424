"""In what order a model's predictions are made, and in which rows of scratch: each once, each row free again early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.contraction import Contraction
from beliefd.engine.forecast import Forecast, Recipe
from beliefd.engine.plan import (
    CONTRACT,
    JOIN,
    MOVE,
    MOVE_OWN,
    SUM,
    TOGETHER_MOST,
    VALUE,
    VALUE_GIVEN,
    VALUE_GOAL,
    VALUE_JOINTLY,
    VALUE_LIKELIHOOD,
    VALUE_OWN,
    VALUE_TRANSITION,
)
from beliefd.engine.policytree import PolicyTree

_PARENTS = 25
"""Nodes whose children are predicted in one go where agents have an A or B of their own."""

Key = tuple[str, tuple[int, ...]]
"""Names a block of rows: ("belief", (number,)), ("joint", beliefs), ("value", (modality, time, *beliefs)), …"""


@dataclass(frozen=True)
class Schedule:
    """Operations for the kernels.

    Attributes
    ----------
    operations : list of int
        One after the other; see `beliefd.engine.plan`.
    count : int
        How many operations.
    rows : int
        Rows of scratch that they take from `first_row` on.
    totals : ndarray of int64, shape (nodes,)
        The row with what a node adds to G.
    """

    operations: list[int]
    count: int
    rows: int
    totals: NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """What the schedule has to know of a model: see `beliefd.engine.predictionplan`.

    Attributes
    ----------
    now : dict
        First row of what exists before: ("belief", (f,)), ("joint", beliefs of now), and ("own", (m,)) of modalities
        whose A is the agent's own.
    states : list of int
        Per factor.
    state_start : list of int
        Of the factor's first state among all states.
    A_parents, B_parents : list of tuple of int
        The factors that a modality, and a factor's transition, depend on.
    joint_number : dict
        Of the joint of these factors.
    contractions : list of Contraction, or None
        Per modality.
    times : list of int
        Per modality, how many steps of a policy have preferences of their own.
    goals : list of int
        Factors with a goal.
    own_factors : list of int
        Factors whose B is the agent's own.
    novelty : tuple of list of int
        Modalities whose A, and factors whose B, can be told about.
    jointly : bool
        Whether all modalities together tell about the states.
    first_row : int
        Of the rows that may be used.
    """

    now: dict[Key, int]
    states: Sequence[int]
    state_start: Sequence[int]
    A_parents: Sequence[tuple[int, ...]]
    B_parents: Sequence[tuple[int, ...]]
    joint_number: dict[tuple[int, ...], int]
    contractions: Sequence[Contraction | None]
    times: Sequence[int]
    goals: Sequence[int]
    own_factors: Sequence[int]
    novelty: tuple[Sequence[int], Sequence[int]]
    jointly: bool
    first_row: int


@dataclass(frozen=True)
class _Operation:
    kind: int
    target: Key
    rows: int
    sources: tuple[Key, ...]
    details: tuple[int, ...]
    members: tuple[Key, ...] = ()
    """Of several that were merged: their targets, which are the rows of this one in equal parts."""


def schedule(tree: PolicyTree, found: Forecast, blocks: Blocks) -> Schedule:
    """Order the predictions of a tree, so that few blocks of rows are in use at once.

    Where agents have an A or B of their own, so that what shares a matrix stands together.
    """
    writer = _Writer(found, blocks)
    totals: dict[int, Key] = {}
    for nodes in _groups(tree, found, blocks):
        paths = [_path(tree, found, node) for node in nodes]
        if len(nodes) > 1:
            writer.prepare([(beliefs, depth) for beliefs, depth, _, _ in paths])
        totals |= {node: writer.total(*path) for node, path in zip(nodes, paths, strict=True)}
    operations = _merged(writer.operations, blocks)
    place, rows = _place(operations, blocks, set(totals.values()))
    written: list[int] = []
    for operation in operations:
        written += _written(operation, place, blocks)
    nodes = [place[totals[node]] for node in range(len(tree.depths))]
    return Schedule(written, len(operations), rows, np.array(nodes, dtype=np.int64))


def _path(tree: PolicyTree, found: Forecast, node: int) -> tuple[tuple[int, ...], int, tuple[int, ...], list[int]]:
    """The beliefs that a node leads to, its depth, the beliefs before it, and its action."""
    parent = int(tree.parents[node])
    before = tuple(found.beliefs[parent].tolist()) if parent >= 0 else tuple(range(found.beliefs.shape[1]))
    return tuple(found.beliefs[node].tolist()), int(tree.depths[node]), before, tree.actions[node].tolist()


def _order(tree: PolicyTree, found: Forecast) -> list[int]:
    """Depth first, but a node whose beliefs are reached by a shorter path as well comes after all others.

    What follows from it follows from the shorter path too, mostly, and is there already.
    """
    _, which = np.unique(found.beliefs, axis=0, return_inverse=True)
    which = which.reshape(-1)
    shortest = np.full(int(which.max()) + 1, len(tree.depths))
    np.minimum.at(shortest, which, tree.depths)
    late = tree.depths > shortest[which]
    for node, parent in enumerate(tree.parents.tolist()):
        if parent >= 0 and late[parent]:
            late[node] = True
    return [*np.flatnonzero(~late).tolist(), *np.flatnonzero(late).tolist()]


def _groups(tree: PolicyTree, found: Forecast, blocks: Blocks) -> list[list[int]]:
    """The nodes in order, those together that may share rows of the agents' own."""
    if not blocks.own_factors and not any(("own", (m,)) in blocks.now for m in range(len(blocks.A_parents))):
        return [[node] for node in _order(tree, found)]
    children: defaultdict[int, list[int]] = defaultdict(list)
    for node, parent in enumerate(tree.parents.tolist()):
        children[parent].append(node)
    groups: list[list[int]] = []
    levels = [[-1]]
    while levels:
        # Few parents at once, for the beliefs of all their children are kept until they are parents in turn.
        following = sorted(
            (child for parent in levels.pop() for child in children[parent]), key=lambda c: _action(tree, c)
        )
        groups += [following[i : i + TOGETHER_MOST] for i in range(0, len(following), TOGETHER_MOST)]
        levels += [following[i : i + _PARENTS] for i in range(0, len(following), _PARENTS)][::-1]
    return groups


def _action(tree: PolicyTree, node: int) -> tuple[int, ...]:
    return tuple(tree.actions[node].tolist())


class _Writer:
    """Writes each operation when its result is first asked for."""

    def __init__(self, found: Forecast, blocks: Blocks) -> None:
        self.operations: list[_Operation] = []
        self._found = found
        self._blocks = blocks
        self._done: set[Key] = set(blocks.now)

    def total(self, beliefs: tuple[int, ...], depth: int, before: tuple[int, ...], actions: Sequence[int]) -> Key:
        """What a node with these beliefs, one per factor, adds to G, where these actions led from those before."""
        seen = [self._value(m, depth, tuple(beliefs[f] for f in p)) for m, p in enumerate(self._blocks.A_parents)]
        values = (*seen, *(self._goal(f, beliefs[f]) for f in self._blocks.goals))
        if self._blocks.jointly:
            source = self._joint(tuple(range(len(beliefs))), beliefs)
            values += (self._write(_Operation(VALUE_JOINTLY, ("gain", beliefs), 1, (source,), ())),)
        values += tuple(self._novelty_of_likelihood(m, beliefs) for m in self._blocks.novelty[0])
        values += tuple(self._novelty_of_transition(f, beliefs, before, actions[f]) for f in self._blocks.novelty[1])
        if len(values) == 1:
            return values[0]
        return self._write(_Operation(SUM, ("total", tuple(i for _, value in values for i in value)), 1, values, ()))

    def prepare(self, nodes: Sequence[tuple[tuple[int, ...], int]]) -> None:
        """Write what nodes with these beliefs, at these depths, need of each kind one after the other."""
        seen = sorted({f for factors in self._blocks.A_parents for f in factors})
        numbers = dict.fromkeys(beliefs[f] for f in seen for beliefs, _ in nodes)
        for number in numbers:
            if ("belief", (number,)) not in self._done:
                recipe = self._found.recipes[number - len(self._blocks.states)]
                self._joint(self._blocks.B_parents[recipe.factor], recipe.parents)
        for number in numbers:
            self._belief(number)
        for m, factors in enumerate(self._blocks.A_parents):
            if ("own", (m,)) in self._blocks.now:
                for beliefs, _ in nodes:
                    self._joint(factors, tuple(beliefs[f] for f in factors))
                for beliefs, depth in nodes:
                    self._value(m, depth, tuple(beliefs[f] for f in factors))

    def _value(self, modality: int, depth: int, beliefs: tuple[int, ...]) -> Key:
        time = depth if self._blocks.times[modality] > 1 else 0
        key: Key = ("value", (modality, time, *beliefs))
        if key in self._done:
            return key
        factors, contraction = self._blocks.A_parents[modality], self._blocks.contractions[modality]
        own: Key = ("own", (modality,))
        if own in self._blocks.now:
            return self._write(_Operation(VALUE_GIVEN, key, 1, (self._joint(factors, beliefs), own), (modality, time)))
        if contraction is None:
            return self._write(_Operation(VALUE, key, 1, (self._joint(factors, beliefs),), (modality, time)))
        of = dict(zip(factors, beliefs, strict=True))
        others = tuple(of[f] for f in contraction.others)
        joint = self._joint(contraction.others, others)
        given: Key = ("given", (modality, *others))
        self._write(_Operation(CONTRACT, given, contraction.rows, (joint,), (modality,)))
        kept = self._belief(of[contraction.kept])
        return self._write(_Operation(VALUE_GIVEN, key, 1, (kept, given), (modality, time)))

    def _goal(self, factor: int, belief: int) -> Key:
        source = self._belief(belief)
        return self._write(_Operation(VALUE_GOAL, ("goal", (belief,)), 1, (source,), (factor,)))

    def _novelty_of_likelihood(self, modality: int, beliefs: tuple[int, ...]) -> Key:
        factors = self._blocks.A_parents[modality]
        given = tuple(beliefs[f] for f in factors)
        source = self._joint(factors, given)
        return self._write(_Operation(VALUE_LIKELIHOOD, ("of A", (modality, *given)), 1, (source,), (modality,)))

    def _novelty_of_transition(
        self, factor: int, beliefs: tuple[int, ...], before: tuple[int, ...], action: int
    ) -> Key:
        factors = self._blocks.B_parents[factor]
        given = tuple(before[f] for f in factors)
        sources = (self._joint(factors, given), self._belief(beliefs[factor]))
        key: Key = ("of B", (factor, action, *given))
        return self._write(_Operation(VALUE_TRANSITION, key, 1, sources, (factor, action)))

    def _joint(self, factors: tuple[int, ...], beliefs: tuple[int, ...]) -> Key:
        members = tuple(self._belief(belief) for belief in beliefs)
        if len(members) == 1:
            return members[0]
        size = int(np.prod([self._blocks.states[f] for f in factors]))
        joint = self._blocks.joint_number[factors]
        return self._write(_Operation(JOIN, ("joint", beliefs), size, members, (joint, *factors)))

    def _belief(self, number: int) -> Key:
        key: Key = ("belief", (number,))
        if key in self._done:
            return key
        recipe: Recipe = self._found.recipes[number - len(self._blocks.states)]
        source = self._joint(self._blocks.B_parents[recipe.factor], recipe.parents)
        rows = self._blocks.states[recipe.factor]
        return self._write(_Operation(MOVE, key, rows, (source,), (recipe.factor, recipe.action)))

    def _write(self, operation: _Operation) -> Key:
        if operation.target not in self._done:
            self._done.add(operation.target)
            self.operations.append(operation)
        return operation.target


def _merged(operations: Sequence[_Operation], blocks: Blocks) -> list[_Operation]:
    """Make one operation of those that follow each other and take the same rows of the agents' own B or A."""
    merged: list[_Operation] = []
    for operation in operations:
        sources, matrix = operation.sources, operation.sources[:0]
        if operation.kind == MOVE and operation.details[0] in blocks.own_factors:
            kind = MOVE_OWN
        elif operation.kind == VALUE_GIVEN and sources[1] in blocks.now:
            sources, matrix, kind = sources[:1], sources[1:], VALUE_OWN
        else:
            merged.append(operation)
            continue
        members, rows = [operation.target], operation.rows
        last = merged[-1] if merged else None
        if (
            last is not None
            and (last.kind, last.details) == (kind, operation.details)
            and len(last.members) < TOGETHER_MOST
            and not {*sources} & {*last.members}
        ):
            merged.pop()
            sources = last.sources[: len(last.members)] + sources
            members, rows = [*last.members, *members], rows + last.rows
        target: Key = ("together", (len(merged), kind))
        merged.append(_Operation(kind, target, rows, sources + matrix, operation.details, tuple(members)))
    return merged


def _place(operations: Sequence[_Operation], blocks: Blocks, kept: Iterable[Key]) -> tuple[dict[Key, int], int]:
    """Give every block its rows; those of a block that nothing reads any more serve the next one of its size."""
    last_read: dict[Key, int] = dict.fromkeys(kept, len(operations))
    for i, operation in enumerate(operations):
        for source in operation.sources:
            last_read[source] = max(last_read.get(source, 0), i)
    ends: defaultdict[int, list[_Operation]] = defaultdict(list)
    for operation in operations:
        ends[max(last_read[key] for key in operation.members or (operation.target,))].append(operation)
    free: defaultdict[int, list[int]] = defaultdict(list)
    place = dict(blocks.now)
    row = blocks.first_row
    for i, operation in enumerate(operations):
        if free[operation.rows]:
            place[operation.target] = free[operation.rows].pop()
        else:
            place[operation.target] = row
            row += operation.rows
        for k, member in enumerate(operation.members):
            place[member] = place[operation.target] + k * (operation.rows // len(operation.members))
        for ended in ends[i]:
            free[ended.rows].append(place[ended.target])
    return place, row - blocks.first_row


def _written(operation: _Operation, place: dict[Key, int], blocks: Blocks) -> list[int]:
    target = place[operation.target]
    sources = [place[source] for source in operation.sources]
    if operation.kind == JOIN:
        joint, *factors = operation.details
        # A joint's index counts states among all states: what is added to it gives the row of a member's state.
        offsets = [row - blocks.state_start[f] for row, f in zip(sources, factors, strict=True)]
        return [JOIN, target, joint, *offsets]
    if operation.kind == SUM:
        return [SUM, target, len(sources), *sources]
    if operation.members:
        return [operation.kind, target, len(operation.members), *operation.details, *sources]
    # The details stand after the first source.
    return [operation.kind, target, sources[0], *operation.details, *sources[1:]]
