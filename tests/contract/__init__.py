"""The contract of a call: a layer's and a network's, whatever carries their states inside.

``networks`` holds networks, each beside its ``oracle``: one step of the network as a pure function of ``functional``,
which a plain loop runs over time. The tests call the networks in every documented way, and use public names alone.
"""
