/* The pictures of the explorer: a run of a neuron over time, and in the plane of its first two states.

   A run is { neuron, kind, xs, states, outputs, thresholds, cursor }: the entry of the catalogue, the kind of the input,
   what went in and came out at each step, and the step that the reader points at, or null. */
"use strict";

const Pictures = (() => {
  const LEFT = 46;
  const RIGHT = 10;
  const BELOW = 34;
  const GAP = 22;
  // what spikes take above the membrane
  const TICKS = 14;

  /* Return a canvas ready for drawing in pixels of the page, with colours from its style. */
  function sheet(canvas) {
    const { width, height } = canvas.getBoundingClientRect();
    const sharp = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    const pen = canvas.getContext("2d");
    pen.scale(sharp, sharp);
    pen.font = "12px system-ui, sans-serif";
    pen.lineJoin = "round";
    const style = getComputedStyle(canvas);
    return { pen, width, height, color: (name) => style.getPropertyValue(`--ne-${name}`).trim() };
  }

  /* Return a few round numbers between two, each with its text. */
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((times) => times * power >= rough) ?? 10);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
      found.push([k * step, (k * step).toFixed(digits)]);
    }
    return found.length > 1 || count > 16 ? found : ticks(low, high, 2 * count);
  }

  /* Return the range of values, with a margin, and with zero where it is near; what has run away is cut off. */
  function extent(values) {
    const numbers = values.filter((value) => Math.abs(value) < 1e6);
    const [least, most] = numbers.length ? [Math.min(...numbers), Math.max(...numbers)] : [0, 1];
    const low = least > 0.3 * most ? least : Math.min(0, least);
    const high = most < 0.3 * least ? most : Math.max(0, most);
    const margin = high - low < 1e-9 ? 0.5 : 0.06 * (high - low);
    return [low - margin, high + margin];
  }

  function line({ pen }, points) {
    pen.beginPath();
    points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  }

  function pick({ pen, color }, shade, width, dash = []) {
    pen.strokeStyle = pen.fillStyle = color(shade);
    pen.lineWidth = width;
    pen.setLineDash(dash);
  }

  function write({ pen }, text, x, y, align, baseline) {
    pen.textAlign = align;
    pen.textBaseline = baseline;
    pen.fillText(text, x, y);
  }

  const spiking = (run) => (run.neuron.output ?? "spikes") === "spikes";

  /* Return the panels from above: the curves of each, { name, values, shade, as, dash }, and its share of the height. */
  function panels(run) {
    const series = (key) => run.states.map((state) => state[key]);
    const membrane = [{ name: "membrane v", values: series("v"), shade: "blue", as: "line" }];
    if (run.thresholds[0] !== null) {
      membrane.push({ name: "threshold", values: run.thresholds, shade: "ink", as: "line", dash: [2, 3] });
    }
    const shades = ["green", "purple", "orange"];
    const others = Object.entries(run.neuron.names ?? {}).map(([key, name], k) => {
      return { name, values: series(key), shade: shades[k], as: "line" };
    });
    const output = [{ name: "output", values: run.outputs, shade: "ink", as: "bars" }];
    const input = [{ name: "input x", values: run.xs, shade: "red", as: run.kind === "pulses" ? "bars" : "steps" }];
    if (run.neuron.output === "numbers") {
      return [[[...membrane, ...others], 5], [output, 3], [input, 2]];
    }
    return others.length ? [[membrane, 5], [others, 3], [input, 2]] : [[membrane, 5], [input, 2]];
  }

  /* Draw a run over time. */
  function overTime(canvas, run) {
    const paper = sheet(canvas);
    const { width, height } = paper;
    const count = run.xs.length;
    const across = (t) => LEFT + ((t + 0.5) / count) * (width - LEFT - RIGHT);
    const all = panels(run);
    const above = spiking(run) ? TICKS : 0;
    const room = (height - BELOW - all.length * GAP - above) / all.reduce((sum, [, share]) => sum + share, 0);
    let top = GAP + above;
    if (above) spikes(paper, run.outputs, across);
    all.forEach(([curves, share], k) => {
      names(paper, curves, k ? top : GAP);
      panel(paper, curves, across, top, top + room * share);
      top += room * share + GAP;
    });
    pick(paper, "muted", 1);
    for (const [t, text] of ticks(0, count - 1, width < 480 ? 4 : 8)) write(paper, text, across(t), top - GAP + 6, "center", "top");
    write(paper, "time (steps)", width - RIGHT, top - GAP + BELOW, "right", "bottom");
    if (run.cursor !== null) line(paper, [[across(run.cursor), GAP], [across(run.cursor), top - GAP]]);
  }

  function spikes(paper, outputs, across) {
    pick(paper, "blue", Math.min(3, Math.max(1, across(0.8) - across(0))));
    outputs.forEach((out, t) => out !== 0 && line(paper, [[across(t), GAP], [across(t), GAP + 10]]));
  }

  /* Write the names of curves above a panel, each in its colour. */
  function names(paper, curves, top) {
    let x = LEFT;
    for (const { name, shade, dash } of curves) {
      pick(paper, shade, 2, dash);
      line(paper, [[x, top - 10], [x + 14, top - 10]]);
      write(paper, name, x + 18, top - 3, "left", "bottom");
      x += 32 + paper.pen.measureText(name).width;
    }
  }

  function panel(paper, curves, across, top, bottom) {
    const [low, high] = extent(curves.flatMap(({ values, as }) => (as === "line" ? values : [0, ...values])));
    // a canvas cannot draw what is too far away
    const near = (value) => Math.min(Math.max(value, low - (high - low)), high + (high - low));
    const up = (value) => bottom - ((near(value) - low) / (high - low)) * (bottom - top);
    for (const [value, text] of ticks(low, high, bottom - top > 90 ? 4 : 2)) {
      pick(paper, "grid", 1);
      line(paper, [[LEFT, up(value)], [paper.width - RIGHT, up(value)]]);
      pick(paper, "muted", 1);
      write(paper, text, LEFT - 6, up(value), "right", "middle");
    }
    paper.pen.save();
    paper.pen.beginPath();
    paper.pen.rect(LEFT, top - 2, paper.width - LEFT - RIGHT, bottom - top + 4);
    paper.pen.clip();
    for (const curve of curves) DRAWN[curve.as](paper, curve, across, up);
    paper.pen.restore();
  }

  const DRAWN = {
    line(paper, { values, shade, dash }, across, up) {
      pick(paper, shade, dash ? 1.3 : 1.8, dash);
      line(paper, values.map((value, t) => [across(t), up(value)]));
    },
    steps(paper, { values, shade }, across, up) {
      pick(paper, shade, 1.8);
      line(paper, values.flatMap((value, t) => [[across(t - 0.5), up(value)], [across(t + 0.5), up(value)]]));
    },
    bars(paper, { values, shade }, across, up) {
      pick(paper, shade, Math.min(3, Math.max(1, across(0.7) - across(0))));
      values.forEach((value, t) => value !== 0 && line(paper, [[across(t), up(0)], [across(t), up(value)]]));
    },
  };

  /* Draw the second state against the membrane. */
  function plane(canvas, run) {
    const paper = sheet(canvas);
    const { width, height } = paper;
    const [key] = Object.keys(run.neuron.names);
    const points = run.states.map((state) => [state.v, state[key]]);
    const [[left, right], [low, high]] = [0, 1].map((k) => extent(points.map((point) => point[k])));
    const x = (value) => LEFT + ((value - left) / (right - left)) * (width - LEFT - RIGHT);
    const y = (value) => height - BELOW - ((value - low) / (high - low)) * (height - BELOW - GAP);
    for (const [value, text] of ticks(low, high, 4)) {
      pick(paper, "grid", 1);
      line(paper, [[LEFT, y(value)], [width - RIGHT, y(value)]]);
      pick(paper, "muted", 1);
      write(paper, text, LEFT - 6, y(value), "right", "middle");
    }
    for (const [value, text] of ticks(left, right, 5)) {
      pick(paper, "grid", 1);
      line(paper, [[x(value), GAP], [x(value), height - BELOW]]);
      pick(paper, "muted", 1);
      write(paper, text, x(value), height - BELOW + 6, "center", "top");
    }
    write(paper, key, LEFT, GAP - 4, "left", "bottom");
    write(paper, "v", width - RIGHT, height - 2, "right", "bottom");
    points.forEach(([v, w], t) => {
      // a spike is a jump
      if (run.outputs[t] !== 0) pick(paper, "muted", 0.7, [2, 3]);
      else pick(paper, "blue", 1.6);
      if (t) line(paper, [[x(points[t - 1][0]), y(points[t - 1][1])], [x(v), y(w)]]);
    });
    if (run.cursor === null) return;
    pick(paper, "red", 1);
    paper.pen.beginPath();
    paper.pen.arc(x(points[run.cursor][0]), y(points[run.cursor][1]), 5, 0, 2 * Math.PI);
    paper.pen.fill();
  }

  /* Return the step at a place of the picture over time, in pixels from its left. */
  function stepAt(x, width, count) {
    return Math.round(((x - LEFT) / (width - LEFT - RIGHT)) * count - 0.5);
  }

  return { overTime, plane, stepAt };
})();
