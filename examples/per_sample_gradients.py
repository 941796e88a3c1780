"""Per-sample gradients by vmap(grad): no image contributes more than norm 1 to the gradient of a batch.

Clipping each sample before the average is what differentially private training does (M. Abadi et al., CCS 2016,
doi:10.1145/2976749.2978318), here without its noise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.utils.data import DataLoader

from examples.data import load
from examples.if_mnist import Net
from examples.training import accuracy, parse_options
from spikingtorch import SpikingNet
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

MAX_NORM = 1.0


def main() -> None:
    """Train on the command line's options."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    model, encoder, decoder = SpikingNet(Net(), 10), PoissonEncoder(8), SumDecoder(8)
    # detached, they share the model's memory, and torch.func alone differentiates: no graph of torch.autograd is kept
    params = {name: weight.detach() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(params.values(), lr=0.005)
    train, test = load(options.dataset)

    def loss(params: dict[str, Tensor], spikes: Tensor, label: Tensor) -> Tensor:
        counts = decoder(functional_call(model, params, (spikes[None],)))
        return F.cross_entropy(counts, label[None])

    each = vmap(grad_and_value(loss), in_dims=(None, 0, 0))
    for epoch in range(1, options.epochs + 1):
        losses, norms = [], []
        for batch, (images, labels) in enumerate(DataLoader(train, batch_size=32, shuffle=True)):
            if batch == options.batches:
                break
            gradients, values = each(params, encoder(images), labels)  # gradients have the samples on axis 0
            norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
            share = (MAX_NORM / norm).clamp(max=1.0) / len(images)
            for name, weight in params.items():
                weight.grad = torch.einsum("n,n...->...", share, gradients[name])
            optimizer.step()
            losses.append(values)
            norms.append(norm)
        norm = torch.cat(norms)
        clipped = (norm > MAX_NORM).float().mean()
        reached = accuracy(nn.Sequential(encoder, model, decoder), test)
        text = f"loss {torch.cat(losses).mean():.3f}   median norm {norm.median():.2f}   clipped {clipped:4.0%}"
        print(f"epoch {epoch:2}/{options.epochs}   {text}   test accuracy {reached:6.1%}", flush=True)


if __name__ == "__main__":
    main()
