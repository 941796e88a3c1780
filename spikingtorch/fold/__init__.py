"""The decision whether the steps of a network may be merged into its batch.

It has four parts::

    trace   the torch operations of a network in one step (trace, queries). They are recorded on a copy whose spiking
            layers are replaced (proof_fold), and again for other numbers of samples (sizes). The copy (copied) has
            whole weights, also of a network that is sharded (unsharded)
    rules   the operations that keep the samples of a batch apart (rules), and the check of a trace by them (proof)
    guard   the check that a network has not changed since the decision (guard): all that its code can read (walk),
            and its hooks (hooks). Changes that a trace makes outside of the network are undone
    policy  the decisions for a network, and when they are made again (policy); the same for people (report)
"""
