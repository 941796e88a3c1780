"""The table of suites, in the order in which they run."""

import math
from collections.abc import Sequence

from benchmarks import beside, models, ours, papers, streaming, tutorials
from benchmarks.networks import DEEP_DIGITS
from benchmarks.suite import (
    BOTH,
    CHANNELS_LAST,
    CURRENTS,
    DEFAULT,
    FLUSHED,
    FORWARD,
    IN_JAX,
    IN_JAX_LOOP,
    JAX_TRAINING,
    TRAINING,
    Bar,
    Layout,
    Size,
    Suite,
)

OURS, LOOP, EAGER, JAX = "spikingtorch", "spikingtorch, loop", "eager loop", "jax.lax.scan"
FOLD, STEP, OLDER, JELLY = "spikingtorch, fold", "spikingtorch, step", "older spikingtorch", "spikingjelly"
SEQUENCE, DENSE = "spikingtorch, sequence", "spikingtorch, dense"
# the products of a linear layer, without neurons
PRODUCTS = "torch.linear"


def in_both(*names: str) -> list[str]:
    """Return contestants in both formats of images; the faster one of each counts."""
    return [name + form for name in names for form in ("", CHANNELS_LAST)]


def faster(than: str, over: Sequence[str], limit: float, *Ns: int) -> Bar:
    """Return the bar of being so many times faster, forward and backward."""
    return Bar(f"faster than {than}", "calls a second", [OURS], over, limit, {"N": Ns, "mode": [BOTH]})


def ahead(peer: str) -> list[Bar]:
    """Return the bars of being three times as fast as a peer: our neuron, and the one that equals the peer's."""
    models = {name: neuron.peers[peer] for name, neuron in beside.NEURONS.items() if peer in neuron.peers}
    alike = [name for name, found in models.items() if found.alike]
    return [
        Bar(f"{own} faster than {peer}", "calls a second", [own], [peer], 3.0, {"model": there})
        for own, there in ((OURS, list(models)), (beside.AS + peer, alike))
    ]


def images(than: str, over: Sequence[str], limit: float, *Bs: int) -> Bar:
    """Return the bar of training on so many times the images a second, each in its faster format."""
    text = f"images a second, the fold over {than}"
    return Bar(text, "images a second", in_both(FOLD), in_both(*over), limit, {"B": Bs})


LIF_PEERS = [JELLY, "snntorch", "norse", "norse, Lift", "sinabs"]
LIF_ALL = [OURS, JAX, *LIF_PEERS, EAGER, LOOP]
RECURRENT_PEERS = [JELLY, "snntorch", "snntorch, Leaky", "norse", "norse, LIFBoxCell", "sinabs"]
LINEAR_PEERS = [JELLY, "snntorch", "snntorch, by layer", "norse", "norse, by layer", "sinabs"]
# in the form that their documentation shows
DIGITS_PEERS = [JELLY, "snntorch", "norse"]
FLOOR = in_both("ReLU, no neurons")
# the fold and the default mode differ by less than two processes of one do, so they share a process
DIGITS_ALL: list[str | tuple[str, ...]] = [(FOLD, OURS), STEP, FOLD + CHANNELS_LAST, *in_both(*DIGITS_PEERS)]
DIGITS_ALL += ["snntorch, by layer", "norse, by layer", EAGER, *in_both(OLDER), *FLOOR]

# as it comes, and in forms that some sizes prefer
JAX_FORMS = [JAX, f"{JAX}, checkpoint", f"{JAX}, unroll=2"]
JAX_PEERS = ["spyx", "jaxpike", "jaxpike, scan_unroll=1", "jaxpike, scan_unroll=1, remat", "brainpy"]
JAX_ALL = (IN_JAX, *JAX_FORMS, OURS, *JAX_PEERS)

SMOOTH = [f"{name}{states}" for states in ("", ", 3 states") for name in ("exp", "tanh", "sigmoid")]
SMOOTH += ["exp + tanh + sigmoid, 3 states"]
HARD = ["sin", "cos", "pow", "erf", "log"]
ADDITIONS = ["addition, fresh output", "addition, preallocated output"]

NEURON = [Size(500, 16, N) for N in (512, 2048, 8192)]
# images of 28 x 28 pixels, recordings of 34 x 34 with two polarities, and patterns of 40 inputs
OF_TUTORIALS = [Size(25, 32, 784), Size(25, 32, 2 * 34 * 34), Size(100, 32, 40)]
BY_SIZE = [Layout("images a second", columns=["T", "B"])]
BY_MODEL = [Layout(rows="model")]
COLD, WARM = {"mode": ["cold"]}, {"mode": ["warm"]}


def in_jax(than: str, over: Sequence[str], limit: float, mode: str, *Ns: int) -> Bar:
    """Return the bar of ``spikingtorch.jax`` being so many times as fast."""
    return Bar(f"spikingtorch.jax over {than}", "calls a second", [IN_JAX], over, limit, {"N": Ns, "mode": [mode]})


# fmt: off
SUITES: dict[str, Suite] = {
    "libraries": Suite(
        "LIF against other libraries", {"lif": LIF_ALL}, NEURON, modes=[BOTH, FORWARD],
        bars=[faster("the fastest peer", LIF_PEERS, 6.0, 512, 2048),
              faster("JAX", [JAX], 4.0, 512, 2048)]),
    "bandwidth": Suite(
        "LIF with its gradient against the memory's bandwidth, that of torch.add(b, c, alpha=s)",
        {"lif": [OURS], **dict.fromkeys(ADDITIONS, ("torch.add",))}, NEURON, [Layout("GB a second", "model")],
        [Bar("share of an addition", "GB a second", ["lif"], ADDITIONS[:1], 0.65,
             {"N": [512, 2048]}, "model")], in_turns=True),
    "neurons": Suite(
        "Other neurons", {"if": [OURS, LOOP], "biolif": [OURS, LOOP], "adaptive": [OURS, JAX, LOOP]}, NEURON,
        modes=[BOTH, FORWARD]),
    "neurons-beside": Suite(
        "Neurons beside LIF against the same or the nearest neurons of other libraries",
        {model: [tuple(beside.contestants(model))] for model, neuron in beside.NEURONS.items() if neuron.peers},
        NEURON[:1], [Layout("nanoseconds a neuron-step", "model", ["contestant"], across=True)],
        [bar for peer in (JELLY, "snntorch", "norse", "sinabs") for bar in ahead(peer)]),
    "neurons-over-lif": Suite(
        "Neurons beside LIF over LIF", dict.fromkeys(["lif", *beside.NEURONS], (OURS,)), NEURON[:1],
        [Layout("nanoseconds a neuron-step", "model")], in_turns=True),
    "functions": Suite(
        "Functions inside a step of LIF", dict.fromkeys(["lif", *SMOOTH, *HARD], (OURS,)), NEURON[1:2], BY_MODEL,
        [Bar("exp, tanh, sigmoid: dearest over LIF", "milliseconds", SMOOTH, ["lif"], 1.3, {}, "model", worst=True),
         Bar("sin, cos, pow, erf, log: dearest over LIF", "milliseconds", HARD, ["lif"], 4.0, {}, "model", worst=True)],
        in_turns=True),
    "overhead": Suite(
        "Small calls on one thread", dict.fromkeys(ours.CALLS, (OURS,)), [Size(8, 4, 10)],
        [Layout("microseconds", "model", ["mode"])], modes=[FORWARD, BOTH], in_turns=True,
        threads=1, block=200),
    "first-call": Suite(
        "First call of LIF", {"lif": [OURS]}, [Size(T, 1, 64) for T in (50, 5000)], [Layout("seconds", "T", ["mode"])],
        [Bar("the longest", "seconds", [50, 5000], [], 0.4, COLD, "T", worst=True),
         Bar("the longest", "seconds", [50, 5000], [], 0.05, WARM, "T", worst=True),
         Bar("T = 5000 over T = 50", "seconds", [5000], [50], 1.25, COLD, "T")],
        modes=["cold", "warm", "second", "tracer", "everything"], kinds=["first call"]),
    "jax": Suite(
        "LIF in JAX, all jitted and in turns in one process", {"lif": [JAX_ALL]}, NEURON[:2], modes=[BOTH, FORWARD],
        bars=[in_jax("the same step in lax.scan", [JAX], 4.0, BOTH, 512),
              in_jax("the same step in lax.scan", [JAX], 2.3, BOTH, 2048),
              in_jax("the best lax.scan", JAX_FORMS, 0.95, FORWARD, 512, 2048),
              in_jax("the fastest peer", JAX_PEERS, 1.0, BOTH, 512, 2048),
              *(in_jax("spikingtorch", [OURS], 1.0 / 1.3, mode, 512, 2048) for mode in (BOTH, FORWARD))],),
    "jax-first-call": Suite(
        "First call of LIF in JAX, forward and backward", {"lif": [IN_JAX, JAX]},
        [Size(T, 1, 64) for T in (50, 5000)], [Layout("seconds", columns=["mode"])],
        [Bar("spikingtorch.jax", "seconds", [IN_JAX], [], 0.5, COLD)],
        modes=["cold", "warm", "second", "tracer", "everything"], kinds=["first call"]),
    "jax-digits": Suite(
        "Training on digits in JAX, jitted whole", dict.fromkeys(JAX_TRAINING, ((IN_JAX, IN_JAX_LOOP),)),
        [Size(100, 32, 784)],
        [Layout(quantity, columns=["model"]) for quantity in ("milliseconds", "millionths")],
        [Bar("spikingtorch.jax over lax.scan", "calls a second", [IN_JAX], [IN_JAX_LOOP], 2.0, {"model": [CURRENTS]}),
         Bar("largest difference of losses", "millionths", [IN_JAX], [], 100.0)],
        modes=[TRAINING], kinds=["time", "difference"]),
    "memory": Suite(
        "Peak memory of LIF above its inputs", {"lif": LIF_ALL}, NEURON[:2],
        [Layout("tensors of the size of the input")],
        [Bar("peak memory over the leanest peer's", "MB", [OURS], LIF_PEERS, 0.5)], kinds=["memory"]),
    "growth": Suite(
        "Growth of LIF's time and memory with T", {"lif": [OURS, JAX, LOOP]},
        [Size(T, 16, 512) for T in (125, 250, 500, 1000, 2000, 4000)],
        [Layout(f"{unit} a step", "T", ["contestant"]) for unit in ("microseconds", "kB")],
        kinds=["time", "memory"]),
    "sweep": Suite(
        "LIF with eight time constants, by vmap or in one call of eight times the batch",
        dict.fromkeys(["one call", "vmap", "vmap, own inputs"], (OURS,)), NEURON[:1], BY_MODEL,
        [Bar("vmap over one call", "milliseconds", ["vmap"], ["one call"], 1.2, {}, "model")], in_turns=True),
    "recurrent": Suite(
        "A recurrent LIF layer, with the gradients of inputs and weights",
        {"recurrent": [OURS, "spikingtorch, compile", JAX, *RECURRENT_PEERS, EAGER, LOOP]},
        [Size(500, 16, N) for N in (128, 512)],
        bars=[*(faster("the fastest peer", RECURRENT_PEERS, limit, N) for N, limit in ((128, 2.0), (512, 4.0))),
              faster("JAX", [JAX], 1.0, 128, 512)]),
    "digits": Suite(
        "Training the tutorial's network on digits", {"digits": DIGITS_ALL}, [Size(8, B, 784) for B in (32, 256)],
        BY_SIZE,
        [images(OLDER, [OLDER], 2.5, 32), images(JELLY, [JELLY], 1.6, 32),
         images("the fastest peer", DIGITS_PEERS, 2.2, 32), images("the fastest peer", DIGITS_PEERS, 1.7, 256),
         Bar("time of the default mode over the fold", "milliseconds", [OURS], [FOLD], 1.1, {"B": [32]})],
        modes=[TRAINING]),
    "linear": Suite(
        "Linear(N, N) and LIF, with the gradient of the weights",
        {"linear": [OURS, DENSE, FOLD, STEP, *LINEAR_PEERS, EAGER, OLDER, PRODUCTS]}, NEURON[:2],
        bars=[*(faster("the fastest peer", LINEAR_PEERS, limit, N) for N, limit in ((512, 9.0), (2048, 4.5))),
              faster("the dense products alone", [PRODUCTS], 1.0, 2048)]),
    "deep": Suite(
        "Training five convolutions and a linear layer with LIF",
        {"deep": [*in_both(FOLD), STEP, *in_both(JELLY), *FLOOR]}, [Size(4, 16, 3072), Size(16, 8, 3072)],
        [Layout("images a second", columns=["T", "B", "setting"]), Layout("MB", columns=["T", "B"])],
        [images(JELLY, [JELLY], 1.3, 16, 8),
         Bar("peak memory over spikingjelly's", "MB", in_both(FOLD), in_both(JELLY), 0.7)],
        # other libraries leave gradients subnormal, unless torch is told to take them for zero; peaks vary by a tenth
        modes=[TRAINING], kinds=["time", "memory"], settings=[DEFAULT, FLUSHED], memory_runs=3),
    "deep-digits": Suite(
        "Training the same deep network on digits, whose spikes are as sparse as data make them",
        {DEEP_DIGITS: [*in_both(FOLD), *in_both(DENSE), *in_both(JELLY), *FLOOR]},
        [Size(4, 16, 3072), Size(16, 8, 3072)], [*BY_SIZE, Layout("MB", columns=["T", "B"])],
        [images(JELLY, [JELLY], 1.8, 16), images(JELLY, [JELLY], 1.75, 8),
         *(Bar("peak memory over spikingjelly's", "MB", in_both(FOLD), in_both(JELLY), limit, {"B": [B]})
           for limit, B in ((0.52, 16), (0.45, 8)))],
        modes=[TRAINING], kinds=["time", "memory"], memory_runs=3),
    "convolutional": Suite(
        "Training two convolutions with batch norm, LIF that learns tau, pooling and dropout",
        {"convolutional": in_both(STEP, OURS, SEQUENCE, JELLY, "ReLU, no neurons")}, [Size(8, 64, 784)],
        BY_SIZE,
        [*(Bar(f"images a second, the default over stepping{form}", "images a second", [OURS + form], [STEP + form],
               1.0) for form in ("", CHANNELS_LAST)),
         Bar("the default over stepping, each in its faster format", "images a second", in_both(OURS), in_both(STEP),
             1.5),
         Bar("the default over spikingjelly, each in its faster format", "images a second", in_both(OURS),
             in_both(JELLY), 1.7)],
        modes=[TRAINING], threads=2),
    "models": Suite(
        "Training SpikingJelly's own models, with its nodes and with ours",
        dict.fromkeys(models.MODELS, ((JELLY, OURS),)), [Size(4, 16, 3 * 32 * 32)],
        [Layout(quantity, "model", ["contestant"]) for quantity in ("milliseconds", "MB")],
        [Bar("ours over spikingjelly's", "images a second", [OURS], [JELLY], 0.95),
         Bar("ours over spikingjelly's, in the median", "images a second", [OURS], [JELLY], 1.2, across="model"),
         Bar("peak memory over spikingjelly's", "MB", [OURS], [JELLY], 1.0)],
        modes=[TRAINING], kinds=["time", "memory"], memory_runs=3, threads=2),
    "papers": Suite(
        "Training the recurrent networks of Higuchi et al. 2024 with 36 neurons, on one thread",
        dict.fromkeys(papers.NETWORKS, (papers.CONTESTANTS,)), [Size(1300, 16, 4)],
        [Layout(quantity, "model", ["contestant"]) for quantity in ("milliseconds", "MB")],
        [*(Bar(f"faster than {name}", "calls a second", [OURS], [name], limit)
           for name, limit in zip(papers.CONTESTANTS[1:], (10.0, 8.0), strict=False)),
         Bar("peak memory over the leanest other", "MB", [OURS], papers.CONTESTANTS[1:], 1.0)],
        modes=[TRAINING], kinds=["time", "memory"], threads=1),
    "networks": Suite(
        "Training networks of the tutorials and examples of snnTorch, Norse and Sinabs, theirs and ours",
        dict.fromkeys(tutorials.NETWORKS, ((*tutorials.FORMS, OURS),)), OF_TUTORIALS,
        [Layout(quantity, columns=["model", "T", "N"]) for quantity in ("milliseconds", "MB")],
        [Bar("ours over theirs in its faster form", "images a second", [OURS], tutorials.FORMS, 1.0),
         Bar("peak memory over theirs in its leaner form", "MB", [OURS], tutorials.FORMS, 1.0)],
        modes=[TRAINING], kinds=["time", "memory"], threads=1,
        inputs={name: math.prod(network.shape) for name, network in tutorials.NETWORKS.items()}),
    "inference-memory": Suite(
        "Peak memory of the tutorial's network without gradients, above its inputs",
        {"digits": [FOLD, "spikingtorch, fold by 8", STEP]}, [Size(T, 32, 784) for T in (8, 64, 256, 1024)],
        [Layout("MB", columns=["T", "B"])], modes=[FORWARD], kinds=["memory"]),
    "one-step": Suite(
        "Inference of one step, on one thread", dict.fromkeys(["digits", "deep"], (OURS, DENSE, STEP, JELLY)),
        [Size(1, B, 784) for B in (1, 8, 32)], [Layout("microseconds", columns=["T", "B"])],
        [Bar(f"the default over spikingjelly, {model}", "microseconds", [OURS], [JELLY], 1.1, {"model": [model]})
         for model in ("digits", "deep")],
        modes=[FORWARD], threads=1, block=50),
    "streaming": Suite(
        "One step a call, on one thread: a neuron of SpikingJelly and networks of snnTorch and Norse, theirs and ours",
        dict.fromkeys(streaming.NETWORKS, ((tutorials.THEIRS, OURS),)),
        [Size(1, B, N) for N in (784, 40) for B in (1, 32)],
        [Layout("microseconds", "model", ["contestant"], across=True)],
        [Bar("ours over theirs", "microseconds", [OURS], [tutorials.THEIRS], 1.5 if "memory" in model else 1.0,
             {"model": [model]}) for model in streaming.NETWORKS],
        modes=[FORWARD, BOTH], threads=1, block=20,
        inputs={name: math.prod(network.shape) for name, network in streaming.NETWORKS.items()}),
}
# fmt: on
