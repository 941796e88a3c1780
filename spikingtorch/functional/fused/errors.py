"""Why a scan does not run fused. These are not errors of the user: each is a reason to take the loop."""


class NotFusible(Exception):  # noqa: N818
    """The fused backend does not take a step, or a use of it; the text says why, after "the step"."""


class UseLoop(NotFusible):
    """The loop is the right way to run this scan, whatever the step; no warning is needed."""


class NothingCompiles(NotFusible):
    """No step can be compiled on this machine, for a ``reason``, which is a clause; one warning covers all of them."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot be compiled: {reason}")
        self.reason = reason
