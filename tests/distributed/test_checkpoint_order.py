"""Which checkpoint is the newest, whatever a run saves and takes up, and in what order."""

from pathlib import Path
from unittest import mock

import pytest

from spikingtorch.checkpoints import CheckpointError
from spikingtorch.checkpoints.storage import Writer
from tests.distributed.ranks import Ranks
from tests.distributed.test_damaged_checkpoints import cut, steps
from tests.distributed.training import Run


def test_a_second_resume_takes_up_the_newest_again(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    checkpoints = Run(tmp_path, "plain").checkpoints
    assert [checkpoints.resume(), checkpoints.resume()] == [2, 2]


def test_a_run_goes_back_to_what_it_has_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain").train(2)
    saved = run.model.get_parameter("net.0.weight").detach().clone()
    run.step(3)
    assert run.checkpoints.resume() == 2
    assert run.model.get_parameter("net.0.weight").equal(saved)


@pytest.mark.parametrize("step", [1, 2])
def test_steps_are_saved_in_their_order(tmp_path: Path, step: int) -> None:
    run = Run(tmp_path, "plain", keep=1).train(2)
    with pytest.raises(ValueError, match=f"step is {step}, expected more than 2, the step of the checkpoint before"):
        run.checkpoints.save(step)
    assert steps(tmp_path) == ["step-00000002"]


def test_a_damaged_checkpoint_is_not_kept_in_place_of_a_new_one(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(4, every=2)
    cut(tmp_path / "step-00000004" / ".metadata", 0.5)
    with pytest.warns(UserWarning, match="step-00000004 is damaged"):
        Run(tmp_path, "plain", keep=1).train(3)
    assert "step-00000003" in steps(tmp_path)
    with pytest.warns(UserWarning, match="step-00000004 is damaged"):
        assert Run(tmp_path, "plain", keep=1).checkpoints.resume() == 3


def test_what_could_not_be_removed_is_in_nobodys_way(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain", keep=1).train(1)
    (tmp_path / "step-00000001.part" / "left").mkdir(parents=True)
    run.checkpoints.save(2)
    assert steps(tmp_path) == ["step-00000002"]


def save_again_after_an_error(folder: Path) -> list[str]:
    run, full = Run(folder, "plain"), mock.Mock(side_effect=OSError(28, "No space left on device"))
    run.step(1)

    def save() -> None:
        run.checkpoints.save(1)
        run.checkpoints.wait()

    with mock.patch.object(Writer, "write_data", full), pytest.raises(CheckpointError, match="No space left"):
        save()
    save()
    return steps(folder)


def test_a_step_that_could_not_be_saved_is_saved_again(ranks: Ranks, tmp_path: Path) -> None:
    assert save_again_after_an_error(tmp_path / "alone") == ["step-00000001"]
    assert ranks.run(1, save_again_after_an_error, tmp_path / "group") == [["step-00000001"]]
