"""Options of XLA for programs that run once, to import before JAX compiles."""

import os
from importlib.metadata import version

# compiled in one part and without optimization
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if [*map(int, version("jax").split(".")[:2])] < [0, 11]:
    # loops compile four times as fast; 0.12 has no other emitters, and ends the process
    FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_enable_concurrency_optimized_scheduler=false"
os.environ.setdefault("XLA_FLAGS", FLAGS)
