// How search orders what it finds, by Sphinx's own numbers. Twins in JAX have the names of ours, and benchmarks name all
// neurons: both stand behind the pages that explain them.
var Scorer = {
  score: ([docname, , , , score]) => score - (/^(benchmarks\/|api\/jax_reference|api\/like_|changelog|contributing)/.test(docname) ? 20 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
