/* The neurons of the explorer: their equations, as the library has them.

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

  // states at rest and thresholds that are not those of a LIF
  const STARTS = {
    ParametricLIF: (p) => ({ v: p.v_rest }),
    CoarseLIF: () => ({ v: 0, s: 0 }),
    CubaLIF: () => ({ v: 0, i: 0 }),
    AlphaLIF: () => ({ v: 0, i: 0, r: 0 }),
    ALIF: () => ({ v: 0, a: 0 }),
    ExponentialIF: (p) => ({ v: p.v_rest }),
    AdEx: (p) => ({ v: p.v_rest, w: 0 }),
    QuadraticIF: (p) => ({ v: p.v_rest }),
    Izhikevich: (p) => ({ v: -65, w: p.b * -65 }),
    ResonateAndFire: () => ({ v: 0, w: 0 }),
    BalancedResonateAndFire: () => ({ v: 0, w: 0, q: 0 }),
    SigmaDelta: () => ({ v: 0, sent: 0 }),
  };
  const THRESHOLDS = {
    LI: () => null,
    ALIF: (state, p) => p.threshold + p.adaptation * state.a,
    BalancedResonateAndFire: (state, p) => p.threshold + state.q,
    SigmaDelta: () => null,
  };

  /* Return the state at rest. */
  function rest(name, p) {
    return { ...(STARTS[name] ? STARTS[name](p) : { v: 0 }), left: 0 };
  }

  /* Advance a neuron that may rest after a spike: then it takes no input, and its state does not move. */
  function step(name, { left, ...state }, x, p) {
    if (left > 0) return [{ ...state, left: left - 1 }, 0];
    const [after, out] = STEPS[name](state, x, p);
    return [{ ...after, left: out !== 0 ? p.refractory ?? 0 : 0 }, out];
  }

  /* Return the threshold that the membrane meets in the step after a state, or null if nothing fires. */
  function threshold(name, state, p) {
    return THRESHOLDS[name] ? THRESHOLDS[name](state, p) : p.threshold;
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

  return { RESETS, rest, run, step, threshold };
})();

if (typeof module !== "undefined") module.exports = Neurons;
