"""Programs of other makes that do the same work, each in a process, and where need be an environment, of its own.

Nothing here but `served` imports beliefd or what it needs: `benches.driver` starts them and talks to them.
"""
