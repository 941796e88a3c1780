"""One network serves a hundred streams, whose chunks come in random order and in different lengths.

A stream is a sequence that does not end, of which some steps arrive now and then. The server keeps the state of each in
a table, made of ``model.get_state()``. To serve the chunks that have arrived, it takes the rows of their streams out of
the table, runs all of them as one padded batch from there, and writes the new states back. A stream that comes anew
starts from rest in the same batch.

The example checks the server against the network that sees each stream alone and in one piece:

- Streams that change places in a batch get the same bits.
- Batches and chunks of other sizes, for which products round in another order, agree to 1e-12 in float64.

Then it prints how many steps it serves a second, beside one stream at a time.
"""

import argparse
import random
import time

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from examples.training import positive
from spikingtorch import LI, LIF, SpikingNet

FEATURES, HIDDEN, CLASSES = 16, 64, 10


def network() -> SpikingNet:
    """Return a recurrent network, numbers (N, T, 16) to membranes (N, T, 10)."""
    current, back = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)
    nn.init.normal_(current.weight, std=FEATURES**-0.5)
    neurons = LIF(tau=10.0, threshold=0.5, recurrent=back)
    return SpikingNet(nn.Sequential(current, neurons, nn.Linear(HIDDEN, CLASSES), LI(tau=20.0))).double().eval()


class Server:
    """Runs the chunks of many streams through one network.

    Args:
        model: the network, in evaluation.
        streams: how many streams there may be.

    Attributes:
        states: the states of all streams, (streams, ...) for each tensor of the network's state.
        fresh: which streams start from rest at their next chunk.
    """

    def __init__(self, model: SpikingNet, streams: int) -> None:
        self.model = model
        model(torch.zeros(streams, 1, FEATURES, dtype=torch.double))  # the state has a shape after a first call
        self.states = model.get_state()
        self.fresh = torch.ones(streams, dtype=torch.bool)

    def serve(self, streams: list[int], chunks: list[Tensor]) -> list[Tensor]:
        """Return what the network makes of chunks (T, 16), each of another stream: (T, 10) each."""
        rows = torch.tensor(streams)
        self.model.set_state({name: table[rows] for name, table in self.states.items()})
        lengths = [len(chunk) for chunk in chunks]
        out: Tensor = self.model(pad_sequence(chunks, batch_first=True), init=self.fresh[rows], lengths=lengths)
        for name, state in self.model.get_state().items():
            self.states[name][rows] = state
        self.fresh[rows] = False
        return [each[:length] for each, length in zip(out, lengths, strict=True)]


Request = tuple[list[int], list[Tensor]]  # streams, and a chunk of each


def arrivals(sequences: Tensor, batch: int, longest: int) -> list[Request]:
    """Cut sequences (N, T, 16) into chunks of 1 to ``longest`` steps, which arrive in random order."""
    left = dict(enumerate(sequences))
    requests: list[Request] = []
    while left:
        streams = random.sample(sorted(left), min(batch, len(left)))
        chunks = []
        for stream in streams:
            sizes = random.randint(1, longest)
            chunks.append(left[stream][:sizes])
            left[stream] = left[stream][sizes:]
            if not len(left[stream]):
                del left[stream]
        requests.append((streams, chunks))
    return requests


def run(server: Server, requests: list[Request], label: str) -> tuple[list[Tensor], float]:
    """Serve all requests, under a progress bar, and return what each stream got, and steps a second."""
    got: list[list[Tensor]] = [[] for _ in server.fresh]
    begin = time.perf_counter()
    for streams, chunks in tqdm(requests, label, unit="batch", leave=False, disable=None):
        for stream, out in zip(streams, server.serve(streams, chunks), strict=True):
            got[stream].append(out)
    seconds = time.perf_counter() - begin
    outs = [torch.cat(each) for each in got if each]
    return outs, sum(map(len, outs)) / seconds


@torch.no_grad()
def main() -> None:
    """Serve the streams in several ways, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=positive, default=100)
    parser.add_argument("--steps", type=positive, default=500, help="steps of each stream")
    parser.add_argument("--batch", type=positive, default=50, help="chunks that are served together")
    options = parser.parse_args()
    torch.manual_seed(0)
    random.seed(0)
    model = network()
    sequences = torch.randn(options.streams, options.steps, FEATURES, dtype=torch.double)
    requests = arrivals(sequences, options.batch, longest=20)
    outs, rate = run(Server(model, options.streams), requests, "in batches")

    swapped = [(streams[::-1], chunks[::-1]) for streams, chunks in requests]
    others, _ = run(Server(model, options.streams), swapped, "places swapped")
    if not all(torch.equal(out, other) for out, other in zip(outs, others, strict=True)):
        raise SystemExit("streams that change places in a batch got other bits")
    print("streams that change places in a batch: the same bits")

    alone = [([stream], [sequence]) for stream, sequence in enumerate(sequences)]
    expected, _ = run(Server(model, options.streams), alone, "in one piece")
    error = max((out - want).abs().max().item() for out, want in zip(outs, expected, strict=True))
    if error > 1e-12:
        raise SystemExit(f"streams that are served alone, in one piece, differ by {error:.1e}")
    print(f"streams alone, in one piece: equal to {error:.1e}")

    some = [(stream, chunk) for request in requests[:10] for stream, chunk in zip(*request, strict=True)]
    _, slow = run(Server(model, options.streams), [([stream], [chunk]) for stream, chunk in some], "one at a time")
    print(f"{rate:,.0f} steps a second in batches of {options.batch} streams, {slow:,.0f} with one stream at a time")


if __name__ == "__main__":
    main()
