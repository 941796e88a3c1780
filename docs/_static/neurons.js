/* The neurons of the explorer: their equations, as the library has them, and what the page says of each.

   Everything here is pure: a step is (state, x, parameters) -> [state, output], in float64. tests/test_explorer.py runs
   this file in Node and compares every neuron with spikingtorch.functional. A script of a page, and a module of Node. */
"use strict";

const Neurons = (() => {
  const decayOf = (tau) => Math.exp(-1 / tau);
  const gainOf = (tau) => -tau * Math.expm1(-1 / tau);
  // 0 times infinity would be NaN
  const limited = (u) => Math.min(u, Number.MAX_VALUE);

  const RESETS = {
    to_zero: (u, s) => (1 - s) * limited(u),
    by_subtraction: (u, s, threshold) => u - s * threshold,
    to_value: (u, s, threshold, value) => (1 - s) * limited(u) + s * value,
    none: (u) => u,
  };

  /* Return the membrane after the reset, and the spike, for a membrane u that meets its threshold. */
  function fire(u, threshold, p) {
    const s = u - threshold >= 0 ? 1 : 0;
    return [RESETS[p.reset](u, s, threshold, p.v_reset), s];
  }

  const STEPS = {
    IF(state, x, p) {
      const [v, s] = fire(state.v + x, p.threshold, p);
      return [{ v }, s];
    },
    LIF(state, x, p) {
      const [v, s] = fire(decayOf(p.tau) * state.v + gainOf(p.tau) * x, p.threshold, p);
      return [{ v }, s];
    },
    ParametricLIF(state, x, p) {
      const u = state.v + (1 / p.tau) * (x - (state.v - p.v_rest));
      const [v, s] = fire(u, p.threshold, p);
      return [{ v }, s];
    },
    LI(state, x, p) {
      const v = decayOf(p.tau) * state.v + gainOf(p.tau) * x;
      return [{ v }, v];
    },
    SpikingDecay(state, x, p) {
      const [v, s] = fire(state.v / p.tau + x, p.threshold, p);
      return [{ v }, s];
    },
    CoarseLIF(state, x, p) {
      const b = gainOf(p.tau);
      const c = p.tau * (1 - b);
      const u = decayOf(p.tau) * state.v + ((1 - state.s) * b + state.s * c) * x;
      const [v, s] = fire(u, p.threshold, p);
      return [{ v, s }, s];
    },
    GradedLIF(state, x, p) {
      const u = decayOf(p.tau) * state.v + gainOf(p.tau) * x;
      const [v, s] = fire(u, p.threshold, p);
      return [{ v }, s * u];
    },
    StochasticLIF(state, [x, noise], p) {
      const u = decayOf(p.tau) * state.v + gainOf(p.tau) * x;
      const chance = 1 / (1 + Math.exp(-p.beta * (u - p.threshold)));
      const s = noise < chance ? 1 : 0;
      return [{ v: RESETS[p.reset](u, s, p.threshold, p.v_reset) }, s];
    },
    CubaLIF(state, x, p) {
      const i = decayOf(p.tau_syn) * state.i + x;
      const [v, s] = fire(decayOf(p.tau) * state.v + gainOf(p.tau) * i, p.threshold, p);
      return [{ v, i }, s];
    },
    AlphaLIF(state, x, p) {
      const d = decayOf(p.tau_rise);
      const r = d * state.r + (1 - d) * x;
      const i = decayOf(p.tau_syn) * state.i + r;
      const [v, s] = fire(decayOf(p.tau) * state.v + gainOf(p.tau) * i, p.threshold, p);
      return [{ v, i, r }, s];
    },
    ALIF(state, x, p) {
      const r = decayOf(p.tau_adaptation);
      const u = decayOf(p.tau) * state.v + gainOf(p.tau) * x;
      const [v, s] = fire(u, p.threshold + p.adaptation * state.a, p);
      return [{ v, a: r * state.a + (1 - r) * s }, s];
    },
    ExponentialIF(state, x, p) {
      const u = state.v + (1 / p.tau) * (p.v_rest - state.v + upstroke(state.v, p) + x);
      const [v, s] = fire(u, p.threshold, p);
      return [{ v }, s];
    },
    AdEx(state, x, p) {
      const u = state.v + (1 / p.tau) * (p.v_rest - state.v + upstroke(state.v, p) - state.w + x);
      const w = state.w + (1 / p.tau_w) * (p.a * (state.v - p.v_rest) - state.w);
      const [v, s] = fire(u, p.threshold, p);
      return [{ v, w: w + p.b * s }, s];
    },
    QuadraticIF(state, x, p) {
      const bend = p.curvature * (state.v - p.v_rest) * (state.v - p.v_critical);
      const [v, s] = fire(state.v + (1 / p.tau) * (bend + x), p.threshold, p);
      return [{ v }, s];
    },
    Izhikevich(state, x, p) {
      const u = state.v + p.dt * (0.04 * state.v * state.v + 5 * state.v + 140 - state.w + x);
      const w = state.w + p.dt * (p.a * (p.b * u - state.w));
      const [v, s] = fire(u, p.threshold, { reset: "to_value", v_reset: p.c });
      return [{ v, w: w + p.d * s }, s];
    },
    ResonateAndFire(state, x, p) {
      const u = state.v + p.dt * (p.damping * state.v - p.omega * state.w + x);
      const w = state.w + p.dt * (p.omega * state.v + p.damping * state.w);
      const [v, s] = fire(u, p.threshold, p);
      return [{ v, w }, s];
    },
    BalancedResonateAndFire({ v, w, q }, x, p) {
      const turn = p.dt * p.omega;
      const b = (-1 + Math.sqrt(1 - turn * turn)) / p.dt - p.offset - q;
      const u = v + p.dt * (b * v - p.omega * w + x);
      const [after, s] = fire(u, p.threshold + q, { reset: "none" });
      return [{ v: after, w: w + p.dt * (p.omega * v + b * w), q: p.decay_refractory * q + s }, s];
    },
    SigmaDelta(state, x, p) {
      const v = state.v + x;
      const e = Math.max(v, 0) - state.sent;
      const out = Math.abs(e) - p.threshold >= 0 ? e : 0;
      return [{ v, sent: state.sent + out }, out];
    },
  };

  /* Return the current that makes the spike of an exponential neuron; constant where its exponent exceeds 20. */
  function upstroke(v, p) {
    return p.sharpness * Math.exp(Math.min((v - p.v_rheobase) / p.sharpness, 20));
  }

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
     starts      the state at rest, for these parameters
     threshold   what the membrane meets in the step after a state; absent where nothing fires
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
      starts: (p) => ({ v: p.v_rest }),
      input: { kind: "step", height: 1.3, pulse: 3, most: 6 },
    },
    LI: {
      says: "A leaky integrator without a threshold: a readout, whose output is its membrane.",
      equation: `v = a v + b x,  ${OF_TAU}`,
      parameters: { tau: TAU },
      rests: false,
      output: "membrane",
      threshold: null,
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
      starts: () => ({ v: 0, s: 0 }),
      names: {},
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
      starts: () => ({ v: 0, a: 0 }),
      threshold: (state, p) => p.threshold + p.adaptation * state.a,
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
      starts: (p) => ({ v: p.v_rest, w: 0 }),
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
      starts: (p) => ({ v: p.v_rest }),
      input: { kind: "step", height: 0.6, pulse: 4, most: 7 },
    },
    QuadraticIF: {
      says: "Its membrane takes off with its square once it is above v_critical.",
      equation: `u = v + (curvature (v - v_rest) (v - v_critical) + x) / tau\n${FIRES}`,
      parameters: { tau: [8, 2, 40], threshold: ONE, v_rest: [0, -1, 0.4], v_critical: [0.8, 0.4, 1], curvature: [1, 0.2, 3] },
      reset: "to_zero",
      resets: ENDS,
      starts: (p) => ({ v: p.v_rest }),
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
      starts: (p) => ({ v: -65, w: p.b * -65 }),
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
      starts: () => ({ v: 0, w: 0 }),
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
      starts: () => ({ v: 0, w: 0, q: 0 }),
      threshold: (state, p) => p.threshold + state.q,
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
      starts: () => ({ v: 0, i: 0 }),
      names: { i: "current i" },
      input: { kind: "pulses", height: 0.3, pulse: 0.3, most: 1, period: 12 },
    },
    AlphaLIF: {
      says: "Like CubaLIF, with a current that rises before it decays.",
      equation: `r = d r + (1 - d) x,  d = exp(-1 / tau_rise)\ni = exp(-1 / tau_syn) i + r\nu = a v + b i,  ${OF_TAU}\n${FIRES}`,
      parameters: { tau_rise: [4, 1, 40], tau_syn: [4, 1, 40], tau: TAU, threshold: ONE },
      reset: "to_zero",
      starts: () => ({ v: 0, i: 0, r: 0 }),
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
    GradedLIF: {
      says: "A LIF whose spikes are as high as its membrane was.",
      equation: `u = a v + b x,  ${OF_TAU}\ns = 1 if u >= threshold, else 0\nv = reset(u, s),  output = s u`,
      parameters: { tau: TAU, threshold: ONE },
      reset: "to_zero",
      output: "numbers",
      input: { kind: "ramp", height: 0.8, pulse: 1.5, most: 3 },
    },
    SigmaDelta: {
      says: "Adds up changes and sends on the change of its ReLU, once that is large enough.",
      equation: `v = v + x\ne = max(v, 0) - sent\noutput = e if |e| >= threshold, else 0\nsent = sent + output`,
      parameters: { threshold: [0.2, 0.02, 1] },
      rests: false,
      output: "numbers",
      threshold: null,
      starts: () => ({ v: 0, sent: 0 }),
      names: { sent: "sum sent" },
      input: { kind: "sine", height: 0.06, pulse: 0.5, most: 0.5, period: 100 },
    },
  };

  /* The inputs: parameters [value, least, most], and the value at each step. The height has the range of the neuron. */
  const INPUTS = {
    constant: { parameters: {}, at: (t, p) => p.height },
    step: {
      parameters: { start: [20, 0, 1000], stop: [160, 0, 1000] },
      at: (t, p) => (t >= p.start && t < p.stop ? p.height : 0),
    },
    pulses: {
      parameters: { start: [10, 0, 1000], period: [12, 1, 200] },
      at: (t, p) => (t >= p.start && (t - p.start) % p.period === 0 ? p.height : 0),
    },
    ramp: { parameters: {}, at: (t, p) => (p.height * t) / p.steps },
    sine: { parameters: { period: [50, 4, 400] }, at: (t, p) => p.height * Math.sin((2 * Math.PI * t) / p.period) },
    noise: {
      parameters: { spread: [null, 0, null], seed: [0, 0, 100] },
      at: (t, p, random) => p.height + p.spread * gaussian(random),
    },
  };

  /* Return a generator of numbers that are uniform in [0, 1), the same ones for a seed (mulberry32). */
  function generator(seed) {
    let a = seed | 0;
    return () => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /* Return a number from the normal distribution (Box and Muller). */
  function gaussian(random) {
    return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  }

  /* Return the input at each step. */
  function signal(kind, p) {
    const random = generator(p.seed ?? 0);
    return Array.from({ length: p.steps }, (_, t) => INPUTS[kind].at(t, p, random));
  }

  /* Return the state at rest. */
  function rest(name, p) {
    const starts = CATALOGUE[name].starts ?? (() => ({ v: 0 }));
    return { ...starts(p), left: 0 };
  }

  /* Advance a neuron that may rest after a spike: then it takes no input, and its state does not move. */
  function step(name, { left, ...state }, x, p) {
    if (left > 0) return [{ ...state, left: left - 1 }, 0];
    const [after, out] = STEPS[name](state, x, p);
    return [{ ...after, left: out !== 0 ? p.refractory ?? 0 : 0 }, out];
  }

  /* Return the threshold that the membrane meets in the step after a state, or null if nothing fires. */
  function threshold(name, state, p) {
    const of = CATALOGUE[name].threshold;
    return of === null ? null : of ? of(state, p) : p.threshold;
  }

  /* Run a neuron over an input: the states after each step, its outputs, and the thresholds that it met. */
  function run(name, p, xs) {
    const states = [];
    const outputs = [];
    const thresholds = [];
    let state = rest(name, p);
    for (const x of xs) {
      thresholds.push(threshold(name, state, p));
      let out;
      [state, out] = step(name, state, x, p);
      states.push(state);
      outputs.push(out);
    }
    return { states, outputs, thresholds };
  }

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

  return { CATALOGUE, COMMON, INPUTS, RESETS, generator, python, rest, run, signal, step, threshold };
})();

if (typeof module !== "undefined") module.exports = Neurons;
