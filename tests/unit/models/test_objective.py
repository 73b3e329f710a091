import pytest
import torch
from torch.testing import assert_close

from reverie.models.objective import DECAY, RunningRms


def test_a_constant_loss_reads_one() -> None:
    for value in (1e-6, 0.3, 5e4):
        rms = RunningRms()
        for _ in range(5):
            assert float(rms(torch.tensor(value))) == pytest.approx(1.0, rel=1e-5)


def test_it_divides_by_the_root_of_the_corrected_mean_square() -> None:
    rms, losses = RunningRms(), [2.0, 0.5, 3.0]
    mean_square = 0.0
    for count, loss in enumerate(losses, start=1):
        got = rms(torch.tensor(loss))
        mean_square = DECAY * mean_square + (1 - DECAY) * loss**2
        wanted = loss / (mean_square / (1 - DECAY**count)) ** 0.5
        assert float(got) == pytest.approx(wanted, rel=1e-6)


def test_no_gradient_passes_through_the_scale() -> None:
    rms = RunningRms()
    rms(torch.tensor(4.0))
    x = torch.tensor(2.0, requires_grad=True)
    out = rms(x)
    out.backward()
    assert x.grad is not None
    # The scale is a constant: the slope is the ratio of output and input.
    assert_close(x.grad, out.detach() / 2.0)


def test_evaluation_reads_the_history_and_does_not_write_it() -> None:
    rms = RunningRms()
    rms(torch.tensor(4.0))
    rms.eval()
    assert float(rms(torch.tensor(8.0))) == pytest.approx(2.0)
    assert float(rms(torch.tensor(8.0))) == pytest.approx(2.0)
    assert float(RunningRms().eval()(torch.tensor(8.0))) == 8.0


def test_its_history_is_saved_with_the_weights() -> None:
    rms = RunningRms()
    for loss in (1.0, 7.0):
        rms(torch.tensor(loss))
    again = RunningRms()
    again.load_state_dict(rms.state_dict())
    assert torch.equal(again(torch.tensor(3.0)), rms(torch.tensor(3.0)))


def test_a_loss_of_zero_stays_zero() -> None:
    x = torch.tensor(0.0, requires_grad=True)
    out = RunningRms()(x)
    assert float(out.detach()) == 0.0
