"""A call that is cancelled on a real stack: what it says of every agent is what was done."""

import numpy as np
import pytest

from beliefd.worlds import tmaze
from beliefd_proto import Applied
from beliefd_proto.errors import Cancelled

pytestmark = pytest.mark.system

AGENTS = 400_000


def test_what_was_cancelled_says_of_every_agent_whether_it_stepped(client, name):
    model = tmaze()
    mice = client.create_population(name, model, agents=AGENTS)
    observations = np.zeros((AGENTS, len(model.num_obs)), int)
    future = mice.submit(observations, timeout_s=60)
    assert future.cancel()
    with pytest.raises(Cancelled) as caught:
        future.result()
    applied = caught.value.applied
    assert set(np.unique(applied)) <= {Applied.NO, Applied.YES}
    assert (applied == Applied.NO).any()
    np.testing.assert_array_equal(mice.read(timeout_s=60).tick, applied == Applied.YES)
    assert mice.step(observations, timeout_s=60).tick.tolist() == (1 + (applied == Applied.YES)).tolist()
    mice.drop()
