"""What a plan says of predictions: the nodes of the tree of policies, and the operations that evaluate them."""

from __future__ import annotations

from typing import Any

import numpy as np

from beliefd.engine import plan
from beliefd.engine.ensemble import Ensemble
from beliefd.engine.forecast import Forecast
from beliefd.engine.goals import Goals
from beliefd.engine.joints import Joints
from beliefd.engine.likelihoodplan import LikelihoodPlan
from beliefd.engine.noveltyplan import NoveltyPlan
from beliefd.engine.ownplan import OwnPlan
from beliefd.engine.plan import NODE_INTS
from beliefd.engine.policytree import PolicyTree
from beliefd.engine.schedule import Blocks, schedule


class PredictionPlan:
    """What evaluates policies, with the other parts of a plan that it builds on.

    Attributes
    ----------
    joints : Joints
    goals : Goals
    own : OwnPlan
    ensemble : Ensemble
    novelty : NoveltyPlan
    own_rows : dict
        First row of scratch of each A of the agents' own, once `own_fields` has placed them.
    """

    def __init__(
        self,
        tree: PolicyTree,
        found: Forecast,
        joints: Joints,
        likelihoods: LikelihoodPlan,
        goals: Goals,
        own: OwnPlan,
        ensemble: Ensemble,
        novelty: NoveltyPlan,
    ) -> None:
        self.joints = joints
        self._tree = tree
        self._found = found
        self._likelihoods = likelihoods
        self.goals = goals
        self.own = own
        self.ensemble = ensemble
        self.novelty = novelty

    def own_fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """Where what agents have of their own stands in scratch from `first_row` on, and how many rows it takes."""
        fields, rows, self.own_rows = self.own.place(first_row, self._likelihoods.times)
        return fields, rows

    def fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """The fields, and how many rows of scratch predictions take from `first_row` on."""
        tree, joints = self._tree, self.joints
        singles = range(len(joints.num_states))
        blocks = Blocks(
            now={("belief", (f,)): joints.rows[f] for f in singles}
            | {("joint", factors): joints.rows[j] for factors, j in joints.number.items() if len(factors) > 1}
            | {("own", (m,)): row for m, row in self.own_rows.items()},
            states=joints.num_states,
            state_start=joints.state_start,
            A_parents=joints.A,
            B_parents=joints.B,
            joint_number=joints.number,
            contractions=self._likelihoods.contractions,
            times=self._likelihoods.times,
            goals=self.goals.factors,
            own_factors=self.own.factors,
            novelty=(self.novelty.modalities, self.novelty.factors),
            jointly=self.ensemble.gains,
            first_row=first_row,
        )
        planned = schedule(tree, self._found, blocks)
        nodes = np.zeros((len(tree.depths), NODE_INTS), dtype=np.int64)
        nodes[:, 0] = tree.depths
        nodes[:, 1] = planned.totals
        nodes[:, 2:4] = tree.leaves
        fields = {
            plan.NUM_NODES: len(nodes),
            plan.NODES: nodes,
            plan.NUM_OPERATIONS: planned.count,
            plan.OPERATIONS: planned.operations,
            plan.LEAF_POLICIES: tree.leaf_policies,
        }
        return fields, planned.rows
