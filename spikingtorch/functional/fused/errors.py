"""Why a scan does not run fused. These are answers, and no errors of the user: each is a reason to take the loop."""


class NotFusible(Exception):  # noqa: N818
    """A step, or a use of it, that the fused backend does not take; the text says why, after "the step"."""


class UseLoop(NotFusible):
    """The loop is the way to run this scan, whatever the step is; nobody has to be warned."""


class NothingCompiles(NotFusible):
    """No step can be compiled on this machine, which one warning says for all of them.

    Attributes:
        reason: a clause that says why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot be compiled: {reason}")
        self.reason = reason
