/* The page of the explorer: its controls, and what they change. Neurons, inputs, texts and pictures have files of their own. */
"use strict";

(() => {
  const root = document.getElementById("neuron-explorer");
  if (!root) return;
  const { RESETS, run } = Neurons;
  const { INPUTS, generator, signal } = Inputs;
  const { CATALOGUE, COMMON, python } = Catalogue;
  const WHOLE = new Set(["refractory", "steps", "start", "stop", "period", "seed"]);
  // of the heights of other inputs to that of a step
  const TIMES = { ramp: 2, sine: 2 };
  const chosen = { name: "LIF", preset: "", kind: "step", values: {}, cursor: null };

  /* Make an element with attributes, listeners ("onclick") and children. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  // --- values and their ranges

  function heightOf(kind) {
    const { height, pulse, kind: first } = CATALOGUE[chosen.name].input;
    return kind === first ? height : kind === "pulses" ? pulse : height * (TIMES[kind] ?? 1);
  }

  /* Return [value, least, most] of a value of the neuron or of its input. */
  function range(key) {
    const { parameters, input } = CATALOGUE[chosen.name];
    const [value, least, most] = parameters[key] ?? COMMON[key] ?? INPUTS[chosen.kind].parameters[key] ?? [];
    if (key === "height") return [heightOf(chosen.kind), -input.most, input.most];
    if (key === "spread") return [0.3 * input.most, 0, input.most];
    if (key === "steps") return [input.steps ?? 200, 20, 1000];
    return [parameters[key] ? value : input[key] ?? value, least, most];
  }

  /* Return the length of a step of a slider: 1, 2 or 5 times a power of ten, of which there are some hundreds. */
  function fineness(key) {
    if (WHOLE.has(key)) return 1;
    const [, least, most] = range(key);
    const wanted = (most - least) / 400;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const times = wanted / power;
    return Number((power * (times < 2 ? 1 : times < 5 ? 2 : 5)).toPrecision(1));
  }

  const ofNeuron = () => Object.keys(CATALOGUE[chosen.name].parameters);
  const ofInput = () => ["height", ...Object.keys(INPUTS[chosen.kind].parameters), "steps"];
  const resets = () => CATALOGUE[chosen.name].resets ?? Object.keys(RESETS);

  function clear(keys) {
    for (const key of keys) chosen.values[key] = range(key)[0];
  }

  function chooseInput(kind) {
    chosen.kind = kind;
    clear(ofInput().filter((key) => key !== "steps"));
  }

  function choose(name) {
    chosen.name = name;
    chosen.preset = "";
    chosen.cursor = null;
    chosen.values = { reset: CATALOGUE[name].reset ?? "none" };
    chosen.kind = CATALOGUE[name].input.kind;
    clear([...ofNeuron(), ...Object.keys(COMMON), ...ofInput()]);
  }

  function apply(preset) {
    const { kind, ...values } = CATALOGUE[chosen.name].presets[preset];
    const steps = chosen.values.steps;
    choose(chosen.name);
    chosen.preset = preset;
    if (kind) chooseInput(kind);
    Object.assign(chosen.values, { steps }, values);
  }

  // --- the address: a link to a page as it is

  let later = 0;

  /* Write the address once a slider stands still: browsers refuse what comes at every move. */
  function remember() {
    clearTimeout(later);
    later = setTimeout(write, 300);
  }

  function write() {
    const keys = [...ofNeuron(), ...ofInput(), "reset", "v_reset", "refractory"];
    const query = new URLSearchParams({ input: chosen.kind });
    for (const key of keys) query.set(key, chosen.values[key]);
    history.replaceState(null, "", `#${chosen.name}?${query}`);
  }

  function recall() {
    const [name, query] = location.hash.slice(1).split("?");
    choose(name in CATALOGUE ? name : "LIF");
    const given = new URLSearchParams(query ?? "");
    if (given.get("input") in INPUTS) chooseInput(given.get("input"));
    for (const key of [...ofNeuron(), ...ofInput(), ...Object.keys(COMMON)]) {
      const value = parseFloat(given.get(key));
      if (Number.isFinite(value)) chosen.values[key] = inside(key, value);
    }
    if (CATALOGUE[chosen.name].reset && resets().includes(given.get("reset"))) chosen.values.reset = given.get("reset");
  }

  /* Return a value within what a slider can reach. */
  function inside(key, value) {
    const [, least, most] = range(key);
    return Math.min(most, Math.max(least, WHOLE.has(key) ? Math.round(value) : value));
  }

  // --- controls

  function row(key, control, extra = "") {
    return make("div", { class: "ne-row" }, make("label", { for: `ne-${key}` }, key), control, extra);
  }

  function slider(key) {
    const [, least, most] = range(key);
    const limits = { min: least, max: most, step: fineness(key) };
    const bar = make("input", { type: "range", id: `ne-${key}`, ...limits });
    const box = make("input", { type: "number", "aria-label": `${key} as a number`, ...limits, step: "any" });
    bar.value = box.value = chosen.values[key];
    const set = (from, to) => () => {
      const value = parseFloat(from.value);
      if (!Number.isFinite(value)) return;
      chosen.values[key] = inside(key, value);
      to.value = chosen.values[key];
      forget();
      update();
    };
    bar.addEventListener("input", set(bar, box));
    box.addEventListener("change", () => {
      set(box, bar)();
      box.value = chosen.values[key];
    });
    return row(key, bar, box);
  }

  function select(key, options, value, change) {
    const list = make("select", { id: `ne-${key}`, onchange: () => change(list.value) });
    for (const option of options) list.append(make("option", { value: option }, option || "choose …"));
    list.value = value;
    return row(key, list);
  }

  /* Show that the values are no longer those of a preset. */
  function forget() {
    chosen.preset = "";
    const list = document.getElementById("ne-preset");
    if (list) list.value = "";
  }

  /* Build all controls, and keep the keyboard where it was. */
  function build() {
    const focused = document.activeElement?.id;
    const neuron = CATALOGUE[chosen.name];
    const again = (change) => (value) => {
      change(value);
      build();
    };
    const rows = [select("neuron", Object.keys(CATALOGUE), chosen.name, again(choose))];
    if (neuron.presets) {
      const options = ["", ...Object.keys(neuron.presets)];
      rows.push(select("preset", options, chosen.preset, again((preset) => (preset ? apply(preset) : choose(chosen.name)))));
    }
    rows.push(...ofNeuron().map(slider));
    if (neuron.reset) {
      rows.push(select("reset", resets(), chosen.values.reset, again((rule) => (chosen.values.reset = rule))));
      if (chosen.values.reset === "to_value") rows.push(slider("v_reset"));
    }
    if (neuron.rests !== false) rows.push(slider("refractory"));
    const inputs = [select("input", Object.keys(INPUTS), chosen.kind, again(chooseInput)), ...ofInput().map(slider)];
    parts.controls.replaceChildren(
      make("fieldset", {}, make("legend", {}, "Neuron"), ...rows),
      make("fieldset", {}, make("legend", {}, "Input"), ...inputs),
    );
    parts.says.textContent = neuron.says;
    parts.equation.textContent = neuron.equation;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    update();
  }

  const parts = {
    controls: make("form", { class: "ne-controls", "aria-label": "Neuron and input", onsubmit: (event) => event.preventDefault() }),
    says: make("p", { class: "ne-says" }),
    picture: make("canvas", { class: "ne-picture", role: "img", tabindex: "0" }),
    plane: make("canvas", { class: "ne-plane", role: "img" }),
    values: make("output", { class: "ne-values" }),
    equation: make("pre", { class: "ne-equation", tabindex: "0" }),
    phase: make("figure", { class: "ne-phase" }),
    code: make("code", { id: "ne-python" }),
    copy: make("button", { type: "button", onclick: copy }, "Copy"),
  };
  parts.phase.append(parts.plane, make("figcaption"));
  const lineOfPython = make("div", { class: "ne-code" }, make("pre", { tabindex: "0" }, parts.code), parts.copy);
  root.replaceChildren(
    make(
      "div",
      { class: "ne-grid" },
      make("div", { class: "ne-view" }, parts.picture, parts.values),
      parts.controls,
      make("div", { class: "ne-text" }, parts.says, parts.equation, lineOfPython),
      parts.phase,
    ),
  );

  async function copy() {
    try {
      await navigator.clipboard.writeText(parts.code.textContent);
    } catch {
      // where the clipboard is closed to the page: from a file, say
      getSelection().selectAllChildren(parts.code);
      document.execCommand("copy");
    }
    parts.copy.textContent = "Copied";
    setTimeout(() => (parts.copy.textContent = "Copy"), 1500);
  }

  // --- what is shown

  const shown = {};

  function update() {
    const neuron = CATALOGUE[chosen.name];
    const xs = signal(chosen.kind, chosen.values);
    // a second generator, so that the noise of the input stays as it is
    const chance = generator(1000 + (chosen.values.seed ?? 0));
    const inputs = neuron.noisy ? xs.map((x) => [x, chance()]) : xs;
    Object.assign(shown, { neuron, kind: chosen.kind, xs }, run(chosen.name, chosen.values, inputs));
    chosen.cursor = chosen.cursor === null ? null : Math.min(chosen.cursor, xs.length - 1);
    parts.code.textContent = python(chosen.name, chosen.values);
    remember();
    requestAnimationFrame(draw);
  }

  function draw() {
    shown.cursor = chosen.cursor;
    Pictures.overTime(parts.picture, shown);
    describe();
    const [second] = Object.values(shown.neuron.names ?? {});
    parts.phase.hidden = !second;
    if (!second) return;
    Pictures.plane(parts.plane, shown);
    const text = `${second} against membrane v; a spike is dotted`;
    parts.plane.setAttribute("aria-label", text);
    parts.phase.lastChild.textContent = text;
  }

  const short = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : String(value));

  /* Say in words what the picture shows, and the values under the cursor. */
  function describe() {
    const count = shown.outputs.filter((out) => out !== 0).length;
    const what = { spikes: "spike", numbers: "output" }[shown.neuron.output ?? "spikes"];
    const text = `${what ? `${count} ${what}${count === 1 ? "" : "s"} in ` : ""}${shown.xs.length} steps`;
    parts.picture.setAttribute("aria-label", `${chosen.name}: ${text}. The arrow keys move through the steps.`);
    parts.values.textContent = chosen.cursor === null ? `${text}. Point at the picture to read its values.` : valuesAt(chosen.cursor);
  }

  function valuesAt(t) {
    const { left, ...state } = shown.states[t];
    const read = Object.entries(state).map(([key, value]) => `${key} = ${short(value)}`);
    if (shown.thresholds[t] !== null) read.push(`threshold = ${short(shown.thresholds[t])}`);
    read.push(`x = ${short(shown.xs[t])}`, `output = ${short(shown.outputs[t])}`);
    return `step ${t}: ${read.join(", ")}${left > 0 ? ", at rest" : ""}`;
  }

  // --- pointer, keys, themes

  function point(t) {
    chosen.cursor = t === null ? null : Math.min(shown.xs.length - 1, Math.max(0, t));
    requestAnimationFrame(draw);
  }

  function follow(event) {
    const { left, width } = parts.picture.getBoundingClientRect();
    point(Pictures.stepAt(event.clientX - left, width, shown.xs.length));
  }

  parts.picture.addEventListener("pointermove", follow);
  parts.picture.addEventListener("pointerdown", follow);
  parts.picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(null));
  parts.picture.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (by) point((chosen.cursor ?? 0) + by);
    else if (event.key === "Home") point(0);
    else if (event.key === "End") point(shown.xs.length - 1);
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(parts.picture);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme", "data-mode"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("hashchange", () => {
    recall();
    build();
  });

  recall();
  build();
})();
