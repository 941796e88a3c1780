"""The decision whether the steps of a network may be merged into its batch.

policy          what was decided for a network, and when it is asked again
guard           whether a network is still the one that was decided about
walk            through all that its code can read
hooks, outside  what is called, or changed, beside it
proof           the decision itself: traces of a copy, compared and judged
trace           what a network asks of torch in one step
questions       what Python asks of tensors meanwhile
rehearsal       the step itself, its spiking layers replaced
replay          the same for other numbers of samples
rules           which operations keep the samples of a batch apart
report          the decision, for people
rng             where random numbers are
"""
