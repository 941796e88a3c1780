"""The sections on the network as a whole: its layers with what they cost, and how they run."""

from spikingtorch.report.content import Content, Section
from spikingtorch.report.html import Html, code, element, joined, listing, paragraph, table
from spikingtorch.report.words import joules, unbroken
from spikingtorch.units import abbreviated
from spikingtorch.watching.table import HEAD, Row

_NUMBERS = (3, 4, 5, 6, 7, 8)


def summary_table(content: Content) -> Section:
    """Return the layers with their sizes, rates, operations and energy, and the ANN of the same shape."""
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
            f"{joules(found.energy_of_ann)} at {unbroken(f'{found.mac:g} pJ')} each.{ratio} This is arithmetic alone, "
            "on hardware that skips zeros; nothing was measured."
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
    """Return what Python warned about while the network ran."""
    lines = "\n\n".join(content.warned)
    return Section("warnings", "Warnings", joined([paragraph("While the network ran, Python warned:"), listing(lines)]))
