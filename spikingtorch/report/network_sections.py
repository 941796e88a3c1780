"""The sections on the whole network: learning curves, layers with their costs, how they run, gradients, integers."""

from spikingtorch.quantize.certificate import HEAD as COMPARED
from spikingtorch.quantize.errors import RULES, IntegerError
from spikingtorch.quantize.report import HEAD as NEEDED
from spikingtorch.quantize.report import Report
from spikingtorch.report import figures
from spikingtorch.report.content import Content, Section
from spikingtorch.report.gradients import DIFFERENCES, TWIN, Checked
from spikingtorch.report.history import OF_LAYERS, Curve, described
from spikingtorch.report.html import Html, code, element, joined, listing, paragraph, table
from spikingtorch.report.integers import Integers
from spikingtorch.report.subjects import LENGTH
from spikingtorch.report.svg import inline
from spikingtorch.report.twins import has_jax
from spikingtorch.report.words import joules, named, unbroken
from spikingtorch.units import abbreviated, counted
from spikingtorch.watching.table import HEAD, Row

_NUMBERS = (3, 4, 5, 6, 7, 8)


def summary_table(content: Content) -> Section:
    """Return the layers with sizes, rates, operations and energy, and an ANN of the same shape."""
    found = content.measured.table
    whole = found.energy or 1.0

    def cells(row: Row) -> list[str]:
        *texts, energy = found.cells(row._replace(name=row.name or "net"))
        width = 100 * found.energy_of(row) / whole
        share = element("span", element("i", style=f"width: {width:.1f}%"), class_="share")
        return [*texts, joined([unbroken(energy), share if width else Html("")])]

    *totals, energy = found.last
    rows = [*map(cells, found.rows), [*totals, unbroken(energy)]]
    caption = f"Means for one sample and its {found.steps:g} steps, from {content.seen}"
    body = [
        table(caption, HEAD, rows, numbers=_NUMBERS, foot=True),
        paragraph(found.in_memory),
        *_beside_ann(content),
        paragraph(found.not_counted, class_="soft"),
    ]
    return Section("summary", "Layers, operations and energy", joined(body))


def _beside_ann(content: Content) -> list[Html]:
    found = content.measured.table
    ratio = f" The spiking network takes {found.beside_ann} the energy of that." if found.beside_ann else ""
    return [
        paragraph(
            "Two kinds of operations are counted. A spike makes each neuron behind it add one weight (AC), "
            f"{unbroken(f'{found.addition:g} pJ')} in a {unbroken('45 nm')} process. A graded input, a pixel or the "
            "mean of average pooling for instance, is multiplied by the weight first (MAC), "
            f"{unbroken(f'{found.mac:g} pJ')}. A sample takes {abbreviated(found.acs)} ACs and "
            f"{abbreviated(found.macs)} MACs, {joules(found.energy)}."
        ),
        paragraph(
            f"An ANN of this shape takes {abbreviated(found.dense / found.steps)} products for one pass, "
            f"{joules(found.energy_of_ann)} at {unbroken(f'{found.mac:g} pJ')} each.{ratio} This is only "
            "arithmetic, on hardware that skips zeros; nothing was measured."
        ),
    ]


def explanation(content: Content) -> Section:
    """Return how the network runs, and which layers are compiled."""
    found = content.measured.explained
    how = {
        "fold": "All steps run in one call of the network",
        "step": "The network is called once for each step",
    }[found.mode]
    fused = sum(layer.backend.backend == "fused" for layer in found.layers)
    loops = f"{fused} of {len(found.layers)} spiking layers run as one compiled time loop." if found.layers else ""
    rows = [
        (layer.path or "net", layer.kind, "x".join(map(str, layer.shape)), str(layer.backend)) for layer in found.layers
    ]
    rows += [(each.path, each.kind, "x".join(map(str, each.shape)), each.form) for each in found.products]
    body = [
        paragraph(f"{how}: {found.reason}. {loops}"),
        paragraph(
            "This is how it runs in evaluation, on this machine; ",
            code("print(model.explain())"),
            " says so for the last call.",
        ),
    ]
    body += [table("What runs each layer", ("layer", "class", "shape", "runs"), rows)] if rows else []
    return Section("runs", "How it runs", joined(body))


def warnings(content: Content) -> Section:
    """Return the warnings of Python while the network ran."""
    lines = "\n\n".join(content.warned)
    return Section("warnings", "Warnings", joined([paragraph("While the network ran, Python warned:"), listing(lines)]))


_LOGGED = """history = []
with SpikeMonitor(model) as monitor:
    for epoch in range(epochs):
        loss = train(model)  # yours
        history.append({"loss": loss, **monitor.metrics()})
        monitor.reset()
report(model, loader, "report.html", history=history)"""
_PERCENT = {"silent": "silent neurons (%)", "saturated": "saturated neurons (%)"}


def learning_curves(content: Content) -> Section:
    """Return the curves of loss, accuracy and all other logged values."""
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
    """Return the firing of the layers, epoch by epoch."""
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


_JAX = "pip install 'spikingtorch[jax]'"
_HEAD = ("layers", "step", "compared with", "largest deviation", "result", "what was compared")
_MEANING = {
    TWIN: "The twin of a step is an independent implementation in JAX, written from the equations. Its gradients are "
    "those of JAX, for random gradients of all outputs and of the last state.",
    DIFFERENCES: "Finite differences compare the gradient with the step as it is written, with the smooth function of "
    "the surrogate in place of the spike.",
}


def gradients(content: Content) -> Section:
    """Return the results of each step's check, and what could not be checked."""
    checks = content.checks
    if not checks:
        return Section(
            "gradients",
            "Gradients",
            paragraph("No layer of the network runs a step over time, so there is nothing to check."),
        )
    rows = [
        (
            ", ".join(each.layers) or "all",
            code(each.step),
            each.how or "",
            "" if each.error is None else f"{each.error:.0e}",
            _result(each),
            each.words,
        )
        for each in checks
    ]
    used = [meaning for how, meaning in _MEANING.items() if any(each.how == how for each in checks)]
    body = [
        paragraph(element("strong", verdict(checks))),
        paragraph(
            "Each kind of step was run once, in double precision, with the parameters of the first named layer. "
            f"Its inputs were those of that layer for the first sample, for at most {LENGTH} steps. If no neuron "
            "fired, they were made stronger. A gradient is right if it equals the gradient of the equations with "
            "their surrogate. PyTorch's linear layers and convolutions are not checked here."
        ),
        *map(paragraph, used),
        *(
            []
            if has_jax()
            else [paragraph("JAX is not installed, so no step was compared with its twin: ", code(_JAX))]
        ),
        table("Gradients of the steps of this network", _HEAD, rows, numbers=(3,)),
    ]
    return Section("gradients", "Gradients", joined(body))


def verdict(checks: list[Checked]) -> str:
    """Return in one sentence how many steps were checked, and how many agree."""
    checked = [each for each in checks if each.passed is not None]
    wrong = [each for each in checked if not each.passed]
    left = len(checks) - len(checked)
    if not checked:
        return f"{counted(left, 'step')}, not checked."
    worst = max((each.error for each in checked if each.error is not None), default=None)
    agree = f"{len(checked) - len(wrong)} of {counted(len(checks), 'step')} checked and right"
    deviation = "" if worst is None or wrong else f", with deviations up to {worst:.0e}"
    rest = f"; {left} not checked" if left else ""
    return f"{agree}{deviation}{rest}." if not wrong else f"{len(wrong)} of {counted(len(checks), 'step')} wrong{rest}."


def _result(check: Checked) -> Html:
    text, kind = {True: ("agrees", "pass"), False: ("differs", "fail"), None: ("not checked", "open")}[check.passed]
    return element("span", text, class_=kind)


def whole_numbers(content: Content, found: Integers | IntegerError) -> Section:
    """Return the integers of the network and their certificate, or the refusal."""
    body = _refused(found) if isinstance(found, IntegerError) else _integers(found)
    said = paragraph("Whole numbers: ", content.measured.explained.whole, ".", class_="soft")
    return Section("integers", "Whole numbers", joined([*body, said]))


def _refused(error: IntegerError) -> list[Html]:
    return [
        paragraph(element("strong", "The network does not become integers.")),
        paragraph(code("to_integer"), f" refuses it: {error}. The rule is that {RULES[error.rule]}."),
    ]


def _integers(found: Integers) -> list[Html]:
    certificate = found.certificate
    said, kind = ("The integers compute the same", "pass") if certificate.equal else ("The integers differ", "fail")
    on = f"{counted(certificate.samples, 'sample')} of {counted(certificate.steps, 'step')}"
    return [
        paragraph(element("span", said, class_=kind), f": {certificate.verdict}."),
        paragraph(
            f"Every spike, membrane and current of the first {on} was compared with that of the integers. Sums are "
            "proven to stay within their bounds, for all inputs in the range of these."
        ),
        table(
            f"The network beside its integers: {certificate.settings}",
            COMPARED,
            [certificate.cells(row) for row in certificate.rows],
            numbers=range(2, len(COMPARED)),
        ),
        *_needs(found.table),
    ]


def _needs(found: Report | ValueError) -> list[Html]:
    if isinstance(found, ValueError):
        return [paragraph(f"There is no C of these integers: {found}.")]
    return [
        table("The integers", NEEDED, map(found.cells, found.rows), numbers=range(3, len(NEEDED))),
        *[paragraph(f"{line[0].upper()}{line[1:]}.") for line in found.needed],
    ]
