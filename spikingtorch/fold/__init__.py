"""The decision whether the steps of a network may be merged into its batch.

policy          what was decided for a network, and when it is asked again
guard           whether a network is still the one that was decided about
probe           the decision itself: a trial on noise, folded and step by step
rehearsal       a run of the trial
watch           what operations do to samples while the trial runs
static_rules    modules that are known to mix samples
snapshot        everything that a call can change, before and after
rng             the generators of random numbers, recorded and replayed
report          the decision, for people
"""
