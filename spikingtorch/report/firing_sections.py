"""The sections on firing: one picture of the network, one part for each layer, and advice."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spikingtorch.report import figures
from spikingtorch.report.advice import Advice, advise
from spikingtorch.report.content import Content, Section
from spikingtorch.report.firing import Firing
from spikingtorch.report.html import Html, code, element, joined, listing, paragraph
from spikingtorch.report.svg import inline
from spikingtorch.report.words import named
from spikingtorch.units import counted, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# layers with pictures of their own
_MOST = 24
_NOTHING = "No layer returns spikes, so there is nothing to show here."


def overview(content: Content) -> Section:
    """Return the picture of the whole network."""
    layers = {named(layer.name): _records(content, layer.name) for layer in content.pictured}
    found = content.measured
    if not layers:
        return Section("overview", "The network at a glance", paragraph(_NOTHING))
    rates = ", ".join(f"{layer.name} {float(layer.rates.mean()):.3g}" for layer in content.firing)
    alt = f"Input, spikes, firing rates, membranes and output of one sample. Mean rates in spikes per step: {rates}"
    activity = {named(layer.name): layer.activity for layer in content.pictured}
    drawn = _picture("overview", lambda: figures.whole(layers, activity, found.out, found.first), alt)
    over = "those of it, too" if found.samples == 1 else f"over all {found.samples:,} samples"
    text = f"Input, spikes, membranes and output are those of the first sample; rates and shares are {over}."
    caption = element("figcaption", text)
    body = element(
        "figure", element("div", drawn, class_="wide", tabindex="0", role="region", aria_label="overview"), caption
    )
    return Section("overview", "The network at a glance", body)


def layer_by_layer(content: Content) -> Section:
    """Return, for each layer that fires, its numbers, spikes and rates, and its membranes if it has them."""
    firing = content.pictured
    if not firing:
        return Section("layers", "Layer by layer", paragraph(_NOTHING))
    parts = [_layer(content, layer, k, len(firing)) for k, layer in enumerate(firing[:_MOST])]
    if len(firing) > _MOST:
        rest = ", ".join(layer.name for layer in firing[_MOST:])
        parts.append(paragraph(f"Pictures are drawn of the first {_MOST} layers; these have none: {rest}."))
    return Section("layers", "Layer by layer", joined(parts))


def _layer(content: Content, layer: Firing, color: int, count: int) -> Html:
    records = _records(content, layer.name)
    rate, size = float(layer.rates.mean()), "x".join(map(str, layer.counts.shape))
    spikes = records["spikes"][0]
    fired = int((spikes != 0).sum())
    in_sample = f"{counted(fired, 'spike')} of {layer.name} in {spikes.shape[0]} steps of the first sample"
    silent, saturated = (float(each.double().mean()) for each in (layer.silent, layer.saturated))
    in_all = f"mean rate {rate:.3g} spikes per step, {percent(silent)} silent, {percent(saturated)} saturated"
    highest = float(layer.rates.max())
    drawn = [
        _figure(
            f"raster-{color}",
            lambda: figures.layer_raster(records["spikes"], color, count),
            in_sample,
            "Spikes of the first sample" if fired else "Spikes of the first sample: there are none",
        ),
        _figure(
            f"histogram-{color}",
            lambda: figures.rate_histogram(layer, color, count),
            f"Firing rates of {layer.name}: {in_all}, highest {highest:.3g}",
            f"Firing rates, {counted(content.measured.samples, 'sample')}",
        ),
    ]
    if "v" in records:
        drawn.append(_membranes(records, layer.name, color))
    shaped = f" ({size})" if layer.counts.ndim > 1 else ""
    text = f"{layer.kind}, {counted(layer.neurons, 'neuron')}{shaped}; {in_all}."
    missing = [] if "v" in records else [paragraph("It has no membrane, so no traces are drawn.", class_="soft")]
    return joined(
        [
            element("h3", named(layer.name)),
            paragraph(text, class_="soft"),
            element("div", *drawn, class_="figures"),
            *missing,
        ]
    )


def _membranes(records: dict[str, Tensor], name: str, color: int) -> Html:
    v = records["v"][0].double()
    finite = v[v.isfinite()]
    span = f" from {float(finite.min()):.3g} to {float(finite.max()):.3g}" if finite.numel() else ""
    threshold = records.get("threshold")
    at = "" if threshold is None else f", threshold {_span(threshold[0])}"
    alt = f"Membranes of some neurons of {name} over time; all of the layer go{span}{at}"
    caption = "Membranes after the reset, spikes above" + ("" if threshold is None else ", threshold dotted")
    return _figure(f"traces-{color}", lambda: figures.layer_traces(records), alt, caption)


def _span(values: Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def silent_and_saturated(content: Content) -> Section:
    """Return advice on silent and saturated neurons, layer by layer."""
    title = "Silent and saturated neurons"
    if not content.firing:
        return Section("silent", title, paragraph(_NOTHING))
    intro = paragraph(
        "A silent neuron fired at no step of any sample, a saturated one at every step of all of them, here of "
        f"{content.seen}. Both pass no information on, and a layer with many of them learns little."
    )
    found = [advise(layer, content.measured.samples) for layer in content.firing]
    # code appears once, where it is needed first
    shown = [
        each._replace(code="" if any(before.code for before in found[:k]) else each.code)
        for k, each in enumerate(found)
    ]
    return Section("silent", title, joined([intro, *map(_advice, shown)]))


def _advice(advice: Advice) -> Html:
    parts = [element("h3", advice.title), *[paragraph(sentence) for sentence in advice.sentences]]
    parts += [listing(advice.code)] if advice.code else []
    return element("div", *parts, class_="advice look" if advice.look else "advice")


def _figure(key: str, draw: Callable[[], "Figure"], alt: str, caption: str) -> Html:
    return element("figure", _picture(key, draw, alt), element("figcaption", caption))


def _picture(key: str, draw: Callable[[], "Figure"], alt: str) -> Html:
    """Return a picture, or why it cannot be drawn, for instance because of an infinite membrane."""
    try:
        return inline(draw(), key, alt)
    except ValueError as error:
        return paragraph("This picture cannot be drawn: ", code(str(error)), class_="soft")


def _records(content: Content, name: str) -> dict[str, Tensor]:
    """Return the records of a layer, on the CPU and in full precision."""
    found = content.measured.pictured[name]

    def shown(record: Tensor) -> Tensor:
        return figures.with_neurons(record.detach().cpu().to(torch.promote_types(record.dtype, torch.float32)))

    return {key: shown(record) for key, record in found.items()}
