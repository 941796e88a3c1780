"""The section on whether the gradients of the network's steps are right."""

from spikingtorch.report.content import Content, Section
from spikingtorch.report.gradients import DIFFERENCES, TWIN, Checked
from spikingtorch.report.html import Html, code, element, joined, paragraph, table
from spikingtorch.report.subjects import LENGTH
from spikingtorch.report.twins import has_jax
from spikingtorch.units import counted

_JAX = "pip install 'spikingtorch[jax]'"
_HEAD = ("layers", "step", "compared with", "largest deviation", "result", "what was compared")
_MEANING = {
    TWIN: "The twin of a step is an independent implementation in JAX, written from the equations. Its gradients are "
    "those of JAX, for random gradients of all outputs and of the last state.",
    DIFFERENCES: "Finite differences compare the gradient with the step as it is written, with the smooth function of "
    "the surrogate in place of the spike.",
}


def gradients(content: Content) -> Section:
    """Return what was found out about each step, and what was not."""
    checks = content.checks
    if not checks:
        return Section(
            "gradients", "Gradients", paragraph("No layer of the network runs a step over time that could be checked.")
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
            "Each kind of step was run once, in double precision, with the parameters of the first layer that is "
            f"named, on what that layer got from the first sample, {LENGTH} steps at most; if no neuron fired, its "
            "inputs were made stronger. Right is a gradient that is that of the equations with their surrogate. Linear "
            "layers and convolutions are PyTorch's, and not checked here."
        ),
        *map(paragraph, used),
        *(
            []
            if has_jax()
            else [paragraph("JAX is not installed, so that no step was compared with its twin: ", code(_JAX))]
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
