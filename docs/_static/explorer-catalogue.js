/* What the explorer says of each neuron: its equation as text, its sliders, and the line of Python that makes it. */
"use strict";

const Catalogue = (() => {
  const FIRES = "s = 1 if u >= threshold, else 0\nv = reset(u, s)";
  const OF_TAU = "a = exp(-1 / tau),  b = tau (1 - a)";
  const UPSTROKE = "g = sharpness exp((v - v_rheobase) / sharpness)";
  // of a parameter: its value at first, and the least and the largest one of its slider
  const TAU = [8, 1, 40];
  const ONE = [1, 0.2, 3];
  const ENDS = ["to_zero", "to_value"];
  const TAKES_OFF = { tau: [8, 2, 40], threshold: ONE, v_rest: [0, -1, 0.4], v_rheobase: [0.5, 0.2, 1], sharpness: [0.2, 0.05, 0.5] };

  // what every neuron may have beside its parameters
  const COMMON = { v_reset: [-0.5, -2, 1], refractory: [0, 0, 30] };

  /* What the page says of each neuron.

     says        one sentence
     equation    as text; x is the input, u the membrane before the reset
     parameters  [value, least, most] by their names in Python
     reset       the rule at first; absent where a neuron has none to choose
     resets      those to choose from, where some would let the membrane run away
     rests       whether it can rest after a spike
     names       of further states, in words
     output      "spikes"; or "numbers", drawn as bars; or "membrane", which is drawn anyway
     input       the kind at first, its height, that of pulses, and the largest of the slider; and others of an input
     presets     parameters and inputs by the name of what they show */
  const CATALOGUE = {
    LIF: {
      says: "Adds up its input and forgets it with the time constant tau. A good first choice.",
      equation: `u = a v + b x,  ${OF_TAU}\n${FIRES}`,
      parameters: { tau: TAU, threshold: ONE },
      reset: "to_zero",
      input: { kind: "step", height: 0.17, pulse: 0.45, most: 1 },
      presets: {
        "fires slowly": { height: 0.14 },
        "fires fast": { height: 0.5 },
        "stays below threshold": { height: 0.11 },
        "adds up fast pulses": { kind: "pulses", height: 0.45, period: 3 },
        "forgets slow pulses": { kind: "pulses", height: 0.45, period: 15 },
      },
    },
    IF: {
      says: "Adds up its input and forgets nothing. When the input stops, the membrane stays.",
      equation: `u = v + x\n${FIRES}`,
      parameters: { threshold: ONE },
      reset: "to_zero",
      input: { kind: "step", height: 0.09, pulse: 0.3, most: 1 },
    },
    ParametricLIF: {
      says: "A LIF by Euler's method, whose time constant learns. Its input is in units of the membrane.",
      equation: `u = v + (x - (v - v_rest)) / tau\n${FIRES}`,
      parameters: { tau: [8, 1.5, 40], threshold: ONE, v_rest: [0, -1, 0.5] },
      reset: "to_zero",
      input: { kind: "step", height: 1.3, pulse: 3, most: 6 },
    },
    LI: {
      says: "A leaky integrator without a threshold: a readout, whose output is its membrane.",
      equation: `v = a v + b x,  ${OF_TAU}`,
      parameters: { tau: TAU },
      rests: false,
      output: "membrane",
      input: { kind: "pulses", height: 0.4, pulse: 0.4, most: 1 },
    },
    SpikingDecay: {
      says: "Divides its membrane by tau at each step; the older package of this name had it.",
      equation: `u = v / tau + x\n${FIRES}`,
      parameters: { tau: [1.2, 1, 4], threshold: ONE },
      reset: "to_zero",
      input: { kind: "step", height: 0.22, pulse: 0.6, most: 1.5 },
    },
    CoarseLIF: {
      says: "A LIF on steps as long as its rest after a spike: in the step after a spike it takes in less.",
      equation: `u = a v + ((1 - s) b + s c) x,  s of the step before\n${OF_TAU},  c = tau (1 - b)\n${FIRES}`,
      parameters: { tau: TAU, threshold: ONE },
      reset: "to_zero",
      input: { kind: "step", height: 0.34, pulse: 0.6, most: 2 },
    },
    ALIF: {
      says: "A LIF whose threshold rises with each of its spikes and sinks back slowly.",
      equation:
        `u = d v + b x,  d = exp(-1 / tau),  b = tau (1 - d)\n` +
        `s = 1 if u >= threshold + adaptation a, else 0\nv = reset(u, s)\n` +
        `a = r a + (1 - r) s,  r = exp(-1 / tau_adaptation)`,
      parameters: { tau: TAU, threshold: ONE, tau_adaptation: [80, 5, 300], adaptation: [6, 0, 20] },
      reset: "by_subtraction",
      names: { a: "adaptation a" },
      input: { kind: "step", height: 0.4, pulse: 0.8, most: 2 },
      presets: {
        "fires less and less": {},
        "answers the change": { height: 0.5, adaptation: 20 },
        "does not adapt": { adaptation: 0 },
      },
    },
    AdEx: {
      says: "Takes off exponentially and adapts by a current w, which each spike feeds.",
      equation: `u = v + (v_rest - v + g - w + x) / tau,  ${UPSTROKE}\n${FIRES}\nw = w + (a (v - v_rest) - w) / tau_w + b s`,
      parameters: { ...TAKES_OFF, tau_w: [40, 5, 200], a: [0.1, 0, 1], b: [0.1, 0, 1] },
      reset: "to_zero",
      resets: ENDS,
      names: { w: "adaptation w" },
      input: { kind: "step", height: 0.9, pulse: 4, most: 5 },
      presets: {
        "fires regularly": { a: 0, b: 0, height: 0.6 },
        adapts: { a: 0.1, b: 0.15, tau_w: 80, height: 0.9 },
        bursts: { reset: "to_value", v_reset: 0.8, a: 0, b: 0.3, tau_w: 80, height: 1.2 },
      },
    },
    ExponentialIF: {
      says: "Its membrane takes off exponentially beyond a point, and then fires even without input.",
      equation: `u = v + (v_rest - v + g + x) / tau,  ${UPSTROKE}\n${FIRES}`,
      parameters: TAKES_OFF,
      reset: "to_zero",
      resets: ENDS,
      input: { kind: "step", height: 0.6, pulse: 4, most: 7 },
    },
    QuadraticIF: {
      says: "Its membrane takes off with its square once it is above v_critical.",
      equation: `u = v + (curvature (v - v_rest) (v - v_critical) + x) / tau\n${FIRES}`,
      parameters: { tau: [8, 2, 40], threshold: ONE, v_rest: [0, -1, 0.4], v_critical: [0.8, 0.4, 1], curvature: [1, 0.2, 3] },
      reset: "to_zero",
      resets: ENDS,
      input: { kind: "step", height: 0.4, pulse: 4, most: 7 },
      presets: {
        "just below the take-off": { kind: "pulses", height: 6.3, period: 150 },
        "just above it": { kind: "pulses", height: 6.45, period: 150 },
      },
    },
    Izhikevich: {
      says: "Four parameters make it one of many kinds of cortical neurons. The membrane is in mV, dt in ms.",
      equation: `u = v + dt (0.04 v^2 + 5 v + 140 - w + x)\ns = 1 if u >= threshold, else 0\nv = c if s = 1, else u\nw = w + dt a (b u - w) + d s`,
      parameters: { a: [0.02, 0.005, 0.15], b: [0.2, 0.1, 0.3], c: [-65, -70, -45], d: [8, 0, 10], threshold: [30, 0, 40], dt: [0.5, 0.1, 1] },
      names: { w: "recovery w" },
      input: { kind: "step", height: 14, pulse: 40, most: 60, steps: 400, start: 20, stop: 360 },
      presets: {
        "regular spiking": { a: 0.02, b: 0.2, c: -65, d: 8, height: 14 },
        "fast spiking": { a: 0.1, b: 0.2, c: -65, d: 2, height: 14 },
        chattering: { a: 0.02, b: 0.2, c: -50, d: 2, height: 14 },
        "bursts at first": { a: 0.02, b: 0.2, c: -55, d: 4, height: 14 },
      },
    },
    ResonateAndFire: {
      says: "Its membrane swings with the frequency omega: pulses that come in time with the swing add up.",
      equation: `u = v + dt (damping v - omega w + x)\nw = w + dt (omega v + damping w)\n${FIRES}`,
      parameters: { omega: [10, 2, 40], damping: [-1, -5, -0.1], threshold: ONE, dt: [0.01, 0.002, 0.02] },
      reset: "none",
      names: { w: "second coordinate w" },
      input: { kind: "pulses", height: 50, pulse: 50, most: 150, steps: 400, period: 63 },
      presets: {
        "pulses in time": { kind: "pulses", height: 50, period: 63, omega: 10, damping: -1 },
        "twice as fast": { kind: "pulses", height: 50, period: 31, omega: 10, damping: -1 },
        "at random": { kind: "noise", height: 0, spread: 30 },
      },
    },
    BalancedResonateAndFire: {
      says: "Swings like ResonateAndFire, and is stable at every frequency. A spike raises its threshold.",
      equation:
        `b = (-1 + sqrt(1 - (dt omega)^2)) / dt - offset - q\n` +
        `v = v + dt (b v - omega w + x)\nw = w + dt (omega v + b w)\n` +
        `s = 1 if v >= threshold + q, else 0\nq = decay_refractory q + s`,
      parameters: { omega: [10, 2, 40], offset: [1, 0.1, 5], threshold: ONE, decay_refractory: [0.9, 0, 0.99], dt: [0.01, 0.002, 0.02] },
      names: { w: "second coordinate w", q: "trace of spikes q" },
      input: { kind: "pulses", height: 60, pulse: 60, most: 150, steps: 400, period: 63 },
      presets: {
        "pulses in time": { kind: "pulses", height: 60, period: 63, omega: 10 },
        "twice as fast": { kind: "pulses", height: 60, period: 31, omega: 10 },
      },
    },
    CubaLIF: {
      says: "A spike feeds a current, which decays with tau_syn and feeds the membrane.",
      equation: `i = exp(-1 / tau_syn) i + x\nu = a v + b i,  ${OF_TAU}\n${FIRES}`,
      parameters: { tau_syn: [4, 1, 40], tau: TAU, threshold: ONE },
      reset: "to_zero",
      names: { i: "current i" },
      input: { kind: "pulses", height: 0.3, pulse: 0.3, most: 1, period: 12 },
    },
    AlphaLIF: {
      says: "Like CubaLIF, with a current that rises before it decays.",
      equation: `r = d r + (1 - d) x,  d = exp(-1 / tau_rise)\ni = exp(-1 / tau_syn) i + r\nu = a v + b i,  ${OF_TAU}\n${FIRES}`,
      parameters: { tau_rise: [4, 1, 40], tau_syn: [4, 1, 40], tau: TAU, threshold: ONE },
      reset: "to_zero",
      names: { i: "current i", r: "r, which i follows" },
      input: { kind: "pulses", height: 0.4, pulse: 0.4, most: 1, period: 12 },
    },
    StochasticLIF: {
      says: "Fires by chance, the more likely the nearer its membrane is to the threshold.",
      equation: `u = a v + b x,  ${OF_TAU}\nchance = 1 / (1 + exp(-beta (u - threshold)))\ns = 1 with this chance, else 0\nv = reset(u, s)`,
      parameters: { tau: TAU, threshold: ONE, beta: [5, 1, 50] },
      reset: "to_zero",
      noisy: true,
      input: { kind: "step", height: 0.13, pulse: 0.4, most: 1 },
    },
    SigmaDelta: {
      says: "Adds up changes and sends on the change of its ReLU, once that is large enough.",
      equation: `v = v + x\ne = max(v, 0) - sent\noutput = e if |e| >= threshold, else 0\nsent = sent + output`,
      parameters: { threshold: [0.2, 0.02, 1] },
      rests: false,
      output: "numbers",
      names: { sent: "sum sent" },
      input: { kind: "sine", height: 0.06, pulse: 0.5, most: 0.5, period: 100 },
    },
  };

  /* Return the line of Python that makes this neuron. */
  function python(name, p) {
    const number = (value) => (Number.isInteger(value) ? value.toFixed(1) : String(value));
    const given = Object.keys(CATALOGUE[name].parameters).map((key) =>
      key === "beta" ? `surrogate=st.functional.Sigmoid(beta=${number(p.beta)})` : `${key}=${number(p[key])}`,
    );
    if (CATALOGUE[name].reset) {
      given.push(`reset=st.functional.${p.reset}${p.reset === "to_value" ? `(${number(p.v_reset)})` : ""}`);
    }
    // in units of dt
    if (p.refractory > 0) given.push(`refractory=${number(p.refractory * (p.dt ?? 1))}`);
    return `st.${name}(${given.join(", ")})`;
  }

  return { CATALOGUE, COMMON, python };
})();

if (typeof module !== "undefined") module.exports = Catalogue;
