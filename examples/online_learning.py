"""A network learns at each step of a stream that never ends, and adapts when its task changes.

It sees spikes of 40 neurons that prefer different directions, and says where the target is. Twice, its world turns by
a quarter, and what it has learned is wrong. The memory that learning takes does not grow. A picture goes to runs/.
"""

import argparse
import copy
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from examples.pictures import ACCENT, INK, save
from examples.training import positive
from spikingtorch import LIF, SpikingNet, learning

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=positive, default=3000)
steps = parser.parse_args().steps
turn = steps // 3
torch.manual_seed(0)
time = torch.arange(steps)
angle = (0.05 * torch.randn(steps)).cumsum(0) + 0.05 * time
tuning = torch.cos(angle[:, None] - torch.linspace(0.0, 2.0 * math.pi, 41)[:40])
spikes = (torch.rand(steps, 40) < 0.5 * tuning.clamp(min=0.0)).float().unsqueeze(1)  # steps, one stream, neurons
turned = angle + 0.5 * math.pi * ((time >= turn).int() + (time >= 2 * turn).int())
target = torch.stack([turned.cos(), turned.sin()], dim=1).unsqueeze(1)
nn.init.normal_((first := nn.Linear(40, 100)).weight, std=0.5)
model = SpikingNet(nn.Sequential(first, LIF(tau=4.0), nn.Linear(100, 2)))
learner, optimizer = learning.online(model, rule="diagonal"), torch.optim.Adam(model.parameters(), lr=0.002)
frozen, errors = copy.deepcopy(model), []
for t in range(steps):
    if t == turn:
        frozen.load_state_dict(model.state_dict())  # a copy that stops learning here
    loss = (learner.step(spikes[t]) - target[t]).square().sum()
    learner.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    errors.append(loss.item())
with torch.no_grad():
    of_frozen = (frozen(spikes.transpose(0, 1))[0] - target[:, 0]).square().sum(1)
curves = torch.stack([torch.tensor(errors), of_frozen]).unsqueeze(1)
smooth = nn.functional.avg_pool1d(curves, 49, 1, 24, count_include_pad=False)[:, 0]
print(f"squared error at the end {smooth[0, -1]:.2f}, without learning from the first turn on {smooth[1, -1]:.2f}")
axes = (figure := Figure(figsize=(9, 3.6), layout="constrained")).subplots()
axes.plot(time + 24, smooth[0], color=INK, label="learns at each step")
axes.plot(time[turn:] + 24, smooth[1, turn:], color=ACCENT, linestyle="--", label="stops at the first turn")
for at in (turn, 2 * turn):
    axes.axvline(at, color=INK, linewidth=0.6, linestyle=":")
    axes.annotate("the world turns", (at, 6.5), xytext=(5, 0), textcoords="offset points", color=INK, fontsize=9)
axes.set(xlim=(0, steps), ylim=(0.07, 9.0), yscale="log", xlabel="time (steps)", ylabel="mean squared error")
axes.yaxis.set_major_formatter("{x:g}")
axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)
axes.spines[["top", "right"]].set_visible(False)
save(figure, Path("runs/online_learning.png"))
