"""The section on a network in whole numbers: what its integers need, and whether they compute the same."""

from spikingtorch.quantize.certificate import HEAD as COMPARED
from spikingtorch.quantize.errors import RULES, IntegerError
from spikingtorch.quantize.report import HEAD as NEEDED
from spikingtorch.quantize.report import Report
from spikingtorch.report.content import Content, Section
from spikingtorch.report.html import Html, code, element, joined, paragraph, table
from spikingtorch.report.integers import Integers
from spikingtorch.units import counted


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
