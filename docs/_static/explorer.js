/* The page of the explorer: controls, pictures, and the line of Python. The neurons themselves are in neurons.js. */
"use strict";

(() => {
  const root = document.getElementById("neuron-explorer");
  if (!root) return;
  const { CATALOGUE, COMMON, INPUTS, RESETS, generator, python, run, signal } = Neurons;
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
    code: make("code", { id: "ne-python" }),
    copy: make("button", { type: "button", onclick: copy }, "Copy"),
  };
  const lineOfPython = make("div", { class: "ne-code" }, make("pre", { tabindex: "0" }, parts.code), parts.copy);
  root.replaceChildren(
    make(
      "div",
      { class: "ne-grid" },
      make("div", { class: "ne-view" }, parts.picture, parts.values),
      parts.controls,
      make("div", { class: "ne-text" }, parts.says, parts.equation, lineOfPython),
      make("figure", { class: "ne-phase" }, parts.plane, make("figcaption")),
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

  // --- pictures

  const shown = { xs: [], states: [], outputs: [], thresholds: [] };

  function update() {
    const neuron = CATALOGUE[chosen.name];
    shown.xs = signal(chosen.kind, chosen.values);
    // a second generator, so that the noise of the input stays as it is
    const chance = generator(1000 + (chosen.values.seed ?? 0));
    const inputs = neuron.noisy ? shown.xs.map((x) => [x, chance()]) : shown.xs;
    Object.assign(shown, run(chosen.name, chosen.values, inputs));
    parts.code.textContent = python(chosen.name, chosen.values);
    remember();
    requestAnimationFrame(draw);
  }

  function color(name) {
    return getComputedStyle(root).getPropertyValue(`--ne-${name}`).trim();
  }

  /* Return a canvas ready for drawing, in pixels of the page. */
  function context(canvas) {
    const { width, height } = canvas.getBoundingClientRect();
    const sharp = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    const pen = canvas.getContext("2d");
    pen.scale(sharp, sharp);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.lineJoin = "round";
    return { pen, width, height };
  }

  /* Return a few round numbers between two, and how to write them. */
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((times) => times * power >= rough) ?? 10);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push([k * step, (k * step).toFixed(digits)]);
    return found.length > 1 || count > 16 ? found : ticks(low, high, 2 * count);
  }

  /* Return the range of numbers, with a margin; a membrane that has run away is cut off. */
  function extent(...series) {
    const numbers = series.flat().filter((value) => Number.isFinite(value));
    let low = Math.max(-1e6, Math.min(0, ...numbers));
    let high = Math.min(1e6, Math.max(...numbers, low));
    if (Math.min(...numbers) > 0.3 * high || high < 0) [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    if (high - low < 1e-9) high = low + 1;
    return [low - 0.06 * (high - low), high + 0.06 * (high - low)];
  }

  function series(key) {
    return shown.states.map((state) => state[key]);
  }

  /* Return the panels from above: what each draws, and its share of the height. */
  function panels() {
    const neuron = CATALOGUE[chosen.name];
    const names = neuron.names ?? {};
    const membrane = { share: 5, lines: [["membrane v", series("v"), "blue"]], values: [series("v")] };
    if (shown.thresholds[0] !== null) {
      membrane.lines.push(["threshold", shown.thresholds, "ink", [2, 3]]);
      membrane.values.push(shown.thresholds);
    }
    const found = [membrane];
    const colors = ["green", "purple", "orange"];
    const others = Object.keys(names).map((key, k) => [names[key], series(key), colors[k]]);
    if (neuron.output === "numbers") {
      if (others.length) {
        membrane.lines.push(...others);
        membrane.values.push(...others.map((line) => line[1]));
      }
      found.push({ share: 3, bars: ["output", shown.outputs, "ink"], values: [shown.outputs] });
    } else if (others.length) {
      found.push({ share: 3, lines: others, values: others.map((line) => line[1]) });
    }
    const input = ["input x", shown.xs, "red"];
    found.push({ share: 2, values: [shown.xs, [0]], ...(chosen.kind === "pulses" ? { bars: input } : { steps: [input] }) });
    return found;
  }

  const LEFT = 46;
  const RIGHT = 10;
  const BELOW = 34;
  const GAP = 22;

  function draw() {
    const neuron = CATALOGUE[chosen.name];
    const { pen, width, height } = context(parts.picture);
    const count = shown.xs.length;
    const across = (t) => LEFT + ((t + 0.5) / count) * (width - LEFT - RIGHT);
    const spiking = (neuron.output ?? "spikes") === "spikes";
    const all = panels();
    const room = height - BELOW - all.length * GAP - (spiking ? 14 : 0);
    const total = all.reduce((sum, panel) => sum + panel.share, 0);
    let top = GAP;
    all.forEach((panel, k) => {
      if (k === 0 && spiking) {
        spikes(pen, across, top);
        top += 14;
      }
      const bottom = top + (room * panel.share) / total;
      drawPanel(pen, panel, across, top, bottom, width);
      top = bottom + GAP;
    });
    axis(pen, across, top - GAP, count, width);
    if (chosen.cursor !== null) {
      pen.strokeStyle = color("muted");
      pen.setLineDash([]);
      pen.lineWidth = 1;
      line(pen, [[across(chosen.cursor), GAP - 4], [across(chosen.cursor), top - GAP]]);
    }
    describe(spiking);
    drawPlane();
  }

  function line(pen, points) {
    pen.beginPath();
    points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  }

  function spikes(pen, across, top) {
    pen.strokeStyle = color("blue");
    pen.lineWidth = Math.min(3, Math.max(1, across(0.8) - across(0)));
    shown.outputs.forEach((out, t) => out !== 0 && line(pen, [[across(t), top], [across(t), top + 10]]));
  }

  function drawPanel(pen, panel, across, top, bottom, width) {
    const [low, high] = extent(...panel.values);
    const up = (value) => bottom - ((Math.min(Math.max(value, low - 1), high + 1) - low) / (high - low)) * (bottom - top);
    pen.lineWidth = 1;
    pen.setLineDash([]);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const [value, text] of ticks(low, high, bottom - top > 90 ? 4 : 2)) {
      pen.strokeStyle = color("grid");
      line(pen, [[LEFT, up(value)], [width - RIGHT, up(value)]]);
      pen.fillStyle = color("muted");
      pen.fillText(text, LEFT - 6, up(value));
    }
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, top - 2, width - LEFT - RIGHT, bottom - top + 4);
    pen.clip();
    for (const [, values, shade, dash] of panel.lines ?? []) {
      pen.strokeStyle = color(shade);
      pen.setLineDash(dash ?? []);
      pen.lineWidth = dash ? 1.3 : 1.8;
      line(pen, values.map((value, t) => [across(t), up(value)]));
    }
    pen.setLineDash([]);
    for (const [, values, shade] of panel.steps ?? []) {
      pen.strokeStyle = color(shade);
      pen.lineWidth = 1.8;
      line(pen, values.flatMap((value, t) => [[across(t - 0.5), up(value)], [across(t + 0.5), up(value)]]));
    }
    if (panel.bars) {
      pen.strokeStyle = color(panel.bars[2]);
      pen.lineWidth = Math.min(3, Math.max(1, across(0.7) - across(0)));
      panel.bars[1].forEach((value, t) => value !== 0 && line(pen, [[across(t), up(0)], [across(t), up(value)]]));
    }
    pen.restore();
    names(pen, [...(panel.lines ?? []), ...(panel.steps ?? []), ...(panel.bars ? [panel.bars] : [])], top);
  }

  /* Write the names of the lines above a panel, each in its colour. */
  function names(pen, lines, top) {
    pen.textAlign = "left";
    pen.textBaseline = "bottom";
    let x = LEFT;
    const above = top - (lines[0][0] === "membrane v" && (CATALOGUE[chosen.name].output ?? "spikes") === "spikes" ? 17 : 4);
    for (const [name, , shade, dash] of lines) {
      pen.strokeStyle = pen.fillStyle = color(shade);
      pen.lineWidth = 2;
      pen.setLineDash(dash ?? []);
      line(pen, [[x, above - 7], [x + 14, above - 7]]);
      pen.setLineDash([]);
      pen.fillText(name, x + 18, above);
      x += 18 + pen.measureText(name).width + 14;
    }
  }

  function axis(pen, across, bottom, count, width) {
    pen.fillStyle = color("muted");
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const [t, text] of ticks(0, count - 1, width < 480 ? 4 : 8)) pen.fillText(text, across(t), bottom + 6);
    pen.textAlign = "right";
    pen.textBaseline = "bottom";
    pen.fillText("time (steps)", width - RIGHT, bottom + BELOW);
  }

  const short = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : String(value));

  /* Say in words what the picture shows, and the values under the cursor. */
  function describe(spiking) {
    const count = shown.outputs.filter((out) => out !== 0).length;
    const total = `${count} ${spiking ? "spike" : "output"}${count === 1 ? "" : "s"} in ${shown.xs.length} steps`;
    const text = CATALOGUE[chosen.name].output === "membrane" ? `${shown.xs.length} steps` : total;
    parts.picture.setAttribute("aria-label", `${chosen.name}: ${text}. The arrow keys move through the steps.`);
    if (chosen.cursor === null) {
      parts.values.textContent = `${text}. Point at the picture to read its values.`;
      return;
    }
    const t = chosen.cursor;
    const { left, ...state } = shown.states[t];
    const read = Object.entries(state).map(([key, value]) => `${key} = ${short(value)}`);
    if (shown.thresholds[t] !== null) read.push(`threshold = ${short(shown.thresholds[t])}`);
    read.push(`x = ${short(shown.xs[t])}`, `output = ${short(shown.outputs[t])}`);
    parts.values.textContent = `step ${t}: ${read.join(", ")}${left > 0 ? ", at rest" : ""}`;
  }

  /* Draw the two first states against each other, of a neuron that has two. */
  function drawPlane() {
    const keys = Object.keys(CATALOGUE[chosen.name].names ?? {});
    const figure = parts.plane.parentElement;
    figure.hidden = keys.length === 0;
    if (figure.hidden) return;
    const { pen, width, height } = context(parts.plane);
    const [vs, ws] = [series("v"), series(keys[0])];
    const [[left, right], [low, high]] = [extent(vs), extent(ws)];
    const x = (value) => LEFT + ((value - left) / (right - left)) * (width - LEFT - RIGHT);
    const y = (value) => height - BELOW - ((value - low) / (high - low)) * (height - BELOW - GAP);
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.strokeStyle = color("grid");
    pen.fillStyle = color("muted");
    for (const [value, text] of ticks(low, high, 4)) {
      line(pen, [[LEFT, y(value)], [width - RIGHT, y(value)]]);
      pen.fillText(text, LEFT - 6, y(value));
    }
    pen.textBaseline = "top";
    pen.textAlign = "center";
    for (const [value, text] of ticks(left, right, 5)) {
      line(pen, [[x(value), GAP], [x(value), height - BELOW]]);
      pen.fillText(text, x(value), height - BELOW + 6);
    }
    for (let t = 1; t < vs.length; t++) {
      // a spike is a jump
      pen.strokeStyle = color(shown.outputs[t] !== 0 ? "muted" : "blue");
      pen.lineWidth = shown.outputs[t] !== 0 ? 0.7 : 1.6;
      pen.setLineDash(shown.outputs[t] !== 0 ? [2, 3] : []);
      line(pen, [[x(vs[t - 1]), y(ws[t - 1])], [x(vs[t]), y(ws[t])]]);
    }
    pen.setLineDash([]);
    pen.textAlign = "left";
    pen.textBaseline = "bottom";
    pen.fillText(keys[0], LEFT, GAP - 4);
    pen.textAlign = "right";
    pen.fillText("v", width - RIGHT, height - BELOW + 32);
    if (chosen.cursor !== null) {
      pen.fillStyle = color("red");
      pen.beginPath();
      pen.arc(x(vs[chosen.cursor]), y(ws[chosen.cursor]), 5, 0, 2 * Math.PI);
      pen.fill();
    }
    const text = `${CATALOGUE[chosen.name].names[keys[0]]} against membrane v; a spike is dotted`;
    parts.plane.setAttribute("aria-label", text);
    figure.querySelector("figcaption").textContent = text;
  }

  // --- pointer, keys, themes

  function point(t) {
    chosen.cursor = t === null ? null : Math.min(shown.xs.length - 1, Math.max(0, t));
    requestAnimationFrame(draw);
  }

  function follow(event) {
    const { left, width } = parts.picture.getBoundingClientRect();
    point(Math.round(((event.clientX - left - LEFT) / (width - LEFT - RIGHT)) * shown.xs.length - 0.5));
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
