"""A process that is forked while another thread is inside a call: its child computes what it would have computed."""

import pytest

from tests.processes import child

# a thread is held in a layer of the network while another one forks; what the child does has a time limit. Each case
# runs in a process of its own
HELD = """
import os, signal, sys, threading, warnings, torch
from torch import nn
import spikingtorch as st
from spikingtorch.fold.proof_fold import ProofFold

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
inside, go, held = threading.Event(), threading.Event(), False

def hold():
    if threading.current_thread() is thread and held:
        inside.set()
        assert go.wait(60)

class Holds(nn.Module):
    def forward(self, x):
        hold()
        return x.clone()

def run(*given):
    hold()
    return rehearse(*given)

rehearse, ProofFold.run = ProofFold.run, run

thread = None
for case in [(mode, held_in) for mode in ("fold", "step") for held_in in ("call", "proof", "record", "monitor")]:
    tried = os.fork()
    if tried == 0:
        break
    print(*case, os.waitstatus_to_exitcode(os.waitpid(tried, 0)[1]))
else:
    sys.exit()
mode, held_in = case
model = st.SpikingNet(nn.Sequential(st.LIF(), Holds(), st.LIF(v0=0.2)), mode=mode, hooks="sequence")
model.net[1].register_forward_hook(lambda *_: None)
x = torch.rand(4, 6, 8)
layer, fresh = st.LIF(), st.LIF()
with torch.no_grad():
    want, more = model(x), model(x, init=False)
    alone = fresh(x[:, 0], init=True)
    spikes = st.record(model, x)["0"]["spikes"]
held = True
work = {
    "call": lambda: model(x),
    "proof": lambda: st.SpikingNet(nn.Sequential(st.LIF()))(x),
    "record": lambda: st.record(model, x),
    "monitor": lambda: st.SpikeMonitor(model).__enter__() and model(x),
}[held_in]
thread = threading.Thread(target=lambda: torch.no_grad()(work)())
thread.start()
assert inside.wait(60)
forked = os.fork()
if forked == 0:
    signal.alarm(60)
    with torch.no_grad():
        assert torch.equal(model(x, init=False), more), "goes on from the last call that came to its end"
        assert torch.equal(model.net[0](x[:, 0], init=True), alone), "a layer by itself"
        assert torch.equal(model(x), want), "the model"
        assert torch.equal(model(x, init=False), more), "the model, going on"
        assert torch.equal(st.record(model, x)["0"]["spikes"], spikes), "record"
        assert torch.equal(st.SpikingNet(nn.Sequential(st.LIF(), st.LIF(v0=0.2)))(x), want), "a model of its own"
        assert model.explain().mode == mode and model.get_state()
        state, out = st.functional.scan(st.functional.if_step, st.functional.IFState(torch.zeros(4, 8)), x, dim=1)
        assert out.shape == x.shape
    os._exit(7)
_, status = os.waitpid(forked, 0)
go.set()
thread.join()
os._exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.long
def test_a_child_is_right_whose_parent_was_inside_a_call() -> None:
    said = child(HELD).splitlines()
    assert len(said) == 8
    assert all(line.endswith(" 7") for line in said), said
