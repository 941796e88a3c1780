"""The decision whether the steps of a network may be merged into its batch, in four ideas.

trace   what a network does in one step: the operations that it asks of torch (trace, queries), run on a copy whose
        spiking layers are replaced (rehearsal), and once more for other numbers of samples (replay)
rules   which operations keep the samples of a batch apart (rules), and the judgement of a trace by them (proof)
guard   whether a network is still the one that was decided about (guard): all that its code can read (walk), the hooks
        on it (hooks); what a trace could have changed outside of it is put back
policy  what was decided for a network, and when it is asked again (policy); the same for people (report)
"""
