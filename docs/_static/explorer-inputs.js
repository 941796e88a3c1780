/* The inputs of the explorer: pure functions of their parameters. A script of a page, and a module of Node. */
"use strict";

const Inputs = (() => {
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

  return { INPUTS, generator, signal };
})();

if (typeof module !== "undefined") module.exports = Inputs;
