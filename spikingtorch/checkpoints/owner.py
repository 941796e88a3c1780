"""The run that may save in a folder: the one that has made the newest file ``owner-00000003`` there."""

import contextlib
import os
import platform
from pathlib import Path

from spikingtorch.checkpoints.storage import remove, steps


class Owner:
    """Takes a folder for a run, from nobody or from the run that it was seen to belong to; the first process asks.

    Each run that takes the folder makes a file of the next number, which only one of several can make.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self.mine, self.known = folder, 0, 0, list[int]()

    def look(self) -> list[int]:
        """Return the steps in the folder, and note whose they are, so that the first ``save()`` takes it over."""
        self.seen, self.known = self._newest(), steps(self.folder)
        return self.known

    def take(self) -> str:
        """Make this run the owner, if it is not; return why it cannot be."""
        if self.mine == self.seen > 0 or self.seen != self._newest():
            return self.refused()
        if unknown := [step for step in steps(self.folder) if step not in self.known]:
            return self.refused(f"holds step {unknown[-1]} of another run")
        with contextlib.suppress(FileExistsError), self._mark(self.seen + 1).open("x") as file:
            file.write(f"process {os.getpid()} on {platform.node()}")
            self.mine = self.seen = self.seen + 1
        if not (refused := self.refused()):
            self._mark(self.mine - 1).unlink(missing_ok=True)
            for part in self.folder.glob("step-*.part"):  # of a run that was killed
                remove(part)
        return refused

    def refused(self, why: str = "") -> str:
        """Return why this run may not write, and nothing if it may."""
        if (newest := self._newest()) != self.mine:
            why = why or f"belongs to another run: {self._mark(newest).read_text() if newest else 'its file is gone'}"
        ending = "Call resume() before the first save() to go on with it, or choose another folder."
        return f"{self.folder} {why}. {ending}" if why else ""

    def _mark(self, number: int) -> Path:
        return self.folder / f"owner-{number:08}"

    def _newest(self) -> int:
        return max((int(path.name[6:]) for path in self.folder.glob("owner-*") if path.name[6:].isdecimal()), default=0)
