"""Mutated frames at the sockets of a running stack."""
