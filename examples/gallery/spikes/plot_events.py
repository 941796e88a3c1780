"""
Events of a moving bar
======================

An event camera sends an event (time, place, polarity) where the light changes. ``events_to_sequence`` counts the
events of each pixel in bins of time. A bar moves to the right here: its front switches pixels on, and its back
switches them off.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from spikingtorch.spikeio import events_to_sequence

rng = np.random.default_rng(0)
events = np.zeros(6000, dtype=[("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
events["t"] = np.sort(rng.integers(0, 120_000, len(events)))  # microseconds
events["p"] = rng.integers(0, 2, len(events))
events["y"] = rng.integers(4, 28, len(events))
front = events["t"] / 120_000 * 24 + 7 + rng.normal(0.0, 0.4, len(events))
events["x"] = np.clip(front - 6 * (events["p"] == 0), 0, 31)
sequence = events_to_sequence(events, nsteps=6, sensor_size=(32, 32, 2), dt=20_000)  # steps, polarities, height, width

figure, axes = plt.subplots(1, 6, figsize=(9, 2), layout="constrained")
for k, (ax, (off, on)) in enumerate(zip(axes, sequence, strict=True)):
    ax.imshow((on - off).numpy(), cmap="RdBu_r", vmin=-6, vmax=6)
    ax.set_title(f"{20 * k} to {20 * k + 20} ms", fontsize=9)
    ax.set(xticks=[], yticks=[])
plt.show()
