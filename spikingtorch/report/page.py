"""The page: its head with the most important numbers, its sections, and its foot."""

from spikingtorch.report import network_sections as network
from spikingtorch.report.content import Content, Section
from spikingtorch.report.firing_sections import layer_by_layer, overview, silent_and_saturated
from spikingtorch.report.html import Html, element, paragraph
from spikingtorch.report.style import STYLE
from spikingtorch.report.words import joules
from spikingtorch.units import abbreviated, counted, percent


def page(content: Content) -> str:
    """Return the whole page."""
    parts = [
        network.learning_curves(content),
        network.rates_over_epochs(content),
        network.summary_table(content),
        network.explanation(content),
        *([] if content.integers is None else [network.whole_numbers(content, content.integers)]),
        overview(content),
        layer_by_layer(content),
        silent_and_saturated(content),
        network.gradients(content),
        *([network.warnings(content)] if content.warned else []),
    ]
    head = [
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", content.title),
        element("style", Html(STYLE)),
    ]
    body = [_header(content), _contents(parts), element("main", *map(_section, parts)), _footer(content)]
    return "<!DOCTYPE html>\n" + element("html", element("head", *head), element("body", *body), lang="en") + "\n"


def _section(section: Section) -> Html:
    return element(
        "section",
        element("h2", section.title, id=f"{section.key}-title"),
        section.body,
        id=section.key,
        aria_labelledby=f"{section.key}-title",
    )


def _contents(parts: list[Section]) -> Html:
    links = [element("li", element("a", part.title, href=f"#{part.key}")) for part in parts]
    return element("nav", element("ul", *links), aria_label="Sections")


def _header(content: Content) -> Html:
    made = content.made
    facts = [
        f"{content.kind}, {counted(content.measured.table.parameters, 'parameter')}",
        content.seen,
        f"input {'x'.join(map(str, content.measured.first.x.shape[2:])) or '1'} a step",
        *[f"{name} {version}" for name, version in content.versions.items()],
    ]
    spans = [part for fact in facts for part in (element("span", fact), " · ")][:-1]
    when = element("time", f"{made:%d %B %Y, %H:%M} UTC", datetime=made.isoformat(timespec="seconds"))
    return element(
        "header",
        paragraph("Report of a spiking network, ", when, class_="kicker"),
        element("h1", content.title),
        paragraph(*spans, class_="facts"),
        element("dl", *_tiles(content), class_="tiles"),
    )


def _tiles(content: Content) -> list[Html]:
    """Return the most important numbers."""
    found, firing = content.measured, content.firing
    tiles = []
    if found.accuracy is not None:
        note = f"of {found.samples:,} samples, by the sum of outputs over time"
        tiles.append(_tile("Accuracy", percent(found.accuracy), note))
    if firing:
        neurons = sum(layer.neurons for layer in firing)
        rate = sum(float(layer.rates.sum()) for layer in firing) / neurons
        silent = sum(int(layer.silent.sum()) for layer in firing)
        tiles.append(_tile("Mean firing rate", f"{rate:.3g}", "spikes per neuron and step"))
        layers = counted(len(firing), "layer")
        tiles.append(_tile("Silent neurons", percent(silent / neurons), f"{silent:,} of {neurons:,} in {layers}"))
    table = found.table
    operations = f"{abbreviated(table.acs)} ACs and {abbreviated(table.macs)} MACs"
    note = f"{operations}, {table.beside_ann} that of the ANN" if table.beside_ann else operations
    tiles.append(_tile("Energy of a sample", joules(table.energy), note))
    right = [each for each in content.checks if each.passed]
    wrong = [each for each in content.checks if each.passed is False]
    note = f"{len(wrong)} of the steps differ from their check" if wrong else "kinds of steps checked and right"
    tiles.append(_tile("Gradients", f"{len(right)} of {len(content.checks)}", note))
    return tiles


def _tile(name: str, number: str, note: str) -> Html:
    parts = [element("dd", number, class_="big"), element("dd", note, class_="note")]
    return element("div", element("dt", name), *parts, class_="tile")


def _footer(content: Content) -> Html:
    text = (
        f"Written by spikingtorch.report on {content.made:%Y-%m-%d}. Rates, shares and operations are those of "
        f"{content.seen}, in evaluation. The page is complete: it loads nothing."
    )
    return element("footer", paragraph(text))
