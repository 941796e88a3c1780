"""The sections on training: learning curves, and how the layers fired over epochs."""

from spikingtorch.report import figures
from spikingtorch.report.content import Content, Section
from spikingtorch.report.history import OF_LAYERS, Curve, described
from spikingtorch.report.html import Html, code, element, joined, listing, paragraph
from spikingtorch.report.svg import inline
from spikingtorch.report.words import named

_LOGGED = """history = []
with SpikeMonitor(model) as monitor:
    for epoch in range(epochs):
        loss = train(model)  # yours
        history.append({"loss": loss, **monitor.metrics()})
        monitor.reset()
report(model, loader, "report.html", history=history)"""
_PERCENT = {"silent": "silent neurons (%)", "saturated": "saturated neurons (%)"}


def learning_curves(content: Content) -> Section:
    """Return the curves of loss, accuracy and whatever else was logged."""
    charts = {} if content.history is None else content.history.charts
    if not charts:
        body = joined(
            [
                paragraph(
                    "No learning curves were given. Append a dict of numbers to a list in each epoch, and pass it as ",
                    code("history="),
                    ":",
                ),
                listing(_LOGGED),
            ]
        )
    else:
        drawn = [_chart(f"curve{k}", chart, name) for k, (name, chart) in enumerate(charts.items())]
        body = element("div", *drawn, class_="figures")
    return Section("curves", "Learning curves", body)


def rates_over_epochs(content: Content) -> Section:
    """Return how the layers fired, epoch by epoch."""
    layers = {} if content.history is None else content.history.layers
    if not layers:
        body = paragraph(
            "No rates were logged. Train within ",
            code("with SpikeMonitor(model) as monitor:"),
            ", and put ",
            code("**monitor.metrics()"),
            " into the dict of each epoch",
            "." if content.history is None else " of the history.",
        )
        if content.history is not None:
            body = joined([body, listing(_LOGGED)])
        return Section("rates", "Rates over epochs", body)
    drawn, never = [], []
    for quantity, label in OF_LAYERS.items():
        if quantity in _PERCENT and quantity in layers and not any(any(curve.values) for curve in layers[quantity]):
            never.append(f" No neuron was {quantity} in any epoch.")
        elif quantity in layers:
            shown = [curve._replace(name=named(curve.name)) for curve in layers[quantity]]
            factor = 100.0 if quantity in _PERCENT else 1.0
            drawn.append(_chart(f"rate-{quantity}", shown, _PERCENT.get(quantity, label), factor))
    intro = paragraph(
        "As ", code("SpikeMonitor"), " counted them while the network was trained, layer by layer.", *never
    )
    return Section("rates", "Rates over epochs", joined([intro, element("div", *drawn, class_="figures")]))


def _chart(key: str, chart: list[Curve], label: str, factor: float = 1.0) -> Html:
    scaled = [curve._replace(values=tuple(factor * value for value in curve.values)) for curve in chart]
    text = ". ".join(f"{label}: {described(curve)}" if curve.name != label else described(curve) for curve in scaled)
    unit = "%" if label in _PERCENT.values() else ""
    last = [f"{curve.name} {curve.values[-1]:.4g}{unit}" for curve in scaled]
    caption = element("figcaption", "Last: ", ", ".join(last))
    return element("figure", inline(figures.curves(scaled, label), key, text), caption)
