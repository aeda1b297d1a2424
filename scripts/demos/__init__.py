"""What scripts/demo runs: three worlds that are simulated here, and agents that live in a stack of their own."""
