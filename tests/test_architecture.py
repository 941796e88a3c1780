"""Who may import whom: each room of the package, and the rooms that its files may import from."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PHYSICS = "functional/{neurons,surrogate,reset,rounding,spike,firing,state,recurrent,masked,refractory_period}"
PHYSICS += "functional/{reparametrized,time_map,recorded,support,plasticity,eligibility,traces,chips,fixed_point}"
# the rooms of the house, from the ground up
MAY_IMPORT: dict[str, set[str]] = {
    "functional/core": set(),
    "functional/physics": {"functional/core"},
    "functional/jax_reference": {"functional/core"},
    "functional/loop": {"functional/core"},
    "functional/compiled": {"functional/core"},
    "functional/fused/ir": set(),
    "functional/fused/errors": set(),
    "functional/fused/build": {"functional/core"},
    "functional/fused/codegen": {"functional/fused/ir"},
    "functional/fused/lower": {"functional/fused/ir", "functional/fused/errors"},
    "functional/fused/trace": {
        *("functional/core", "functional/fused/lower", "functional/fused/ir", "functional/fused/errors")
    },
    "functional/fused/runtime": {
        *("functional/core", "functional/fused/codegen", "functional/fused/build", "functional/physics"),
        *("functional/fused/ir", "functional/fused/errors", "functional/sparse"),
    },
}
MAY_IMPORT["functional/sparse"] = {"functional/core", "functional/fused/build"}
_FUSED = {room for room in MAY_IMPORT if room.startswith("functional/fused/")}
MAY_IMPORT["functional/dispatch"] = {*_FUSED, "functional/physics", "functional/core", "functional/loop"}
_BELOW_SCAN = {"functional/dispatch", "functional/core", "functional/loop", "functional/compiled"}
MAY_IMPORT["functional/recompute"] = {"functional/core"}
MAY_IMPORT["functional/checksum"] = {"functional/core", "functional/fused/build"}
MAY_IMPORT["functional/parallel"] = {"functional/core", "functional/fused/ir"}
MAY_IMPORT["functional/scan"] = {
    *_BELOW_SCAN,
    *(f"functional/{room}" for room in ("parallel", "recompute", "fused/trace")),
}
MAY_IMPORT["functional/scan"] |= {"functional/fused/ir", "functional/fused/errors"}
MAY_IMPORT["functional"] = {"functional/scan", "functional/physics", "functional/sparse", *_BELOW_SCAN}
_PUBLIC = {"functional", "functional/scan", "functional/physics", "functional/core"}
MAY_IMPORT["foreign"] = MAY_IMPORT["units"] = MAY_IMPORT["axes"] = set()
MAY_IMPORT["validation"] = {*_PUBLIC, "foreign"}
MAY_IMPORT["layers"] = {*_PUBLIC, "functional/dispatch", "functional/sparse", "validation"}
MAY_IMPORT["fold"] = {"axes", *_PUBLIC, "foreign", "functional/sparse", "layers", "units", "validation"}
MAY_IMPORT["losses"] = {"axes", *_PUBLIC, "validation"}
MAY_IMPORT["metrics"] = {"losses"}
MAY_IMPORT["spikeio"] = {"axes", *_PUBLIC, "losses", "validation"}
MAY_IMPORT["data"] = set()
MAY_IMPORT["spikingnet"] = {"axes", "foreign", *_PUBLIC, "functional/sparse", "fold", "layers", "validation"}
MAY_IMPORT["spikingnet"] |= {"functional/checksum"}
MAY_IMPORT["models"] = {*_PUBLIC, "layers", "quantize", "spikingnet"}
MAY_IMPORT["step_graph"] = {"functional/core", "layers"}
MAY_IMPORT["learning"] = {"axes", "fold", *_PUBLIC, "layers", "spikingnet", "step_graph", "validation", "watching"}
MAY_IMPORT["convert"] = {*_PUBLIC, "layers", "spikingnet", "step_graph", "validation"}
MAY_IMPORT["watching"] = {"axes", *_PUBLIC, "fold", "layers", "units", "validation"}
MAY_IMPORT["plot"] = {"axes", *_PUBLIC, "layers", "units", "validation", "watching"}
MAY_IMPORT["report"] = {"axes", *_PUBLIC, "functional/jax_reference", "fold", "interop", "layers", "metrics", "plot"}
MAY_IMPORT["report"] |= {"quantize", "spikingtorch", "testing", "units", "validation", "verification", "watching"}
MAY_IMPORT["init"] = {"axes", "functional/core", "fold", "layers", "spikingnet", "validation"}
MAY_IMPORT["like"] = {*_PUBLIC, "foreign", "layers", "validation"}
MAY_IMPORT["interop"] = {"axes", *_PUBLIC, "layers", "like", "plot", "spikingnet", "step_graph", "units", "watching"}
MAY_IMPORT["interop"] |= {"functional/fused/ir", "functional/fused/runtime", "spikingtorch"}
MAY_IMPORT["quantize"] = {"axes", *_PUBLIC, "fold", "interop", "layers", "spikingnet", "units", "validation"}
MAY_IMPORT["quantize"] |= {"spikingtorch", "step_graph", "watching"}
MAY_IMPORT["utils"] = MAY_IMPORT["performance"] = _PUBLIC
MAY_IMPORT["checkpoints"] = {"functional/core", "spikingnet", "spikingtorch"}
MAY_IMPORT["jax"] = {"functional", "functional/jax_reference", "functional/core"}
MAY_IMPORT["jax"] |= {f"functional/fused/{room}" for room in ("ir", "errors", "lower", "codegen", "build")}
MAY_IMPORT["verification"] = {*_PUBLIC, "functional/jax_reference", "interop", "jax"}
MAY_IMPORT["testing"] = {*_PUBLIC, "verification"}
MAY_IMPORT["cli"] = {"axes", *_PUBLIC, "functional/fused/build", "interop", "quantize", "report", "testing", "units"}
MAY_IMPORT["cli"] |= {"checkpoints", "spikingnet", "verification"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["spikingtorch"] = {"functional", "layers", "losses", "metrics", "spikeio", "utils"}
MAY_IMPORT["spikingtorch"] |= {"foreign", "spikingnet", "watching"}


@cache
def parsed(path: Path) -> list[ast.AST]:
    """Return all nodes of a file."""
    return [*ast.walk(ast.parse(path.read_text()))]


@cache
def modules() -> dict[str, Path]:
    """Return the files of the package, by the names of their modules."""
    paths = (ROOT / "spikingtorch").rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, at the top or inside a function."""
    names, known = set(), modules()
    for node in parsed(path):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "spikingtorch":
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {each if each in known else node.module for each in whole}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name in known}
    return names


def room(module: str) -> str:
    """Return the room that a module is in."""
    _, *parts = module.split(".")
    if parts[:1] != ["functional"]:
        return parts[0] if parts else "spikingtorch"
    if len(parts) > 1 and parts[1] in PHYSICS:
        return "functional/physics"
    return "/".join(parts[: 3 if parts[1:2] == ["fused"] else 2])


def chain(room: str, arrows: dict[str, set[str]], above: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the longest chain of rooms from one down."""
    assert room not in above, f"a circle: {' -> '.join([*above, room])}"
    below = [chain(each, arrows, (*above, room)) for each in arrows[room]]
    return (room, *max(below, key=len, default=()))


def test_arrows_go_one_way_in_no_circle_and_no_long_chain() -> None:
    known = modules()
    arrows: dict[str, set[str]] = {room(module): set() for module in known}
    wrong = []
    for module, path in known.items():
        others = {other for other in imported(path) if room(other) != room(module)}
        arrows[room(module)] |= {room(other) for other in others}
        allowed = MAY_IMPORT.get(room(module), set())
        wrong += [f"{module} imports {other}" for other in others if room(other) not in allowed]
    assert not wrong, "\n".join(wrong)
    assert len(chain("spikingtorch", arrows)) <= 11


def test_the_target_alone_knows_its_device_and_language() -> None:
    """C on the CPU is one target, Triton on GPUs another: a third is added beside them, and nothing else is told."""
    fused = "spikingtorch.functional.fused"
    own = {"build.cache", "build.compiler", "codegen.c", "runtime.cpu"}
    own |= {"build.triton_kernel", "codegen.triton", "runtime.triton_arguments", "runtime.gpu"}
    modules_of_a_target = {f"{fused}.{name}" for name in own}
    loop_in_c = {f"{fused}.runtime.recurrent.c_abi", f"{fused}.runtime.recurrent.c_loop"}
    # the layers that skip zeros have no program, and so no target: they are C alone
    sparse = {f"spikingtorch.functional.sparse.{name}" for name in ("c_abi", "connections")}
    # XLA calls kernels in C, on CPUs alone; and a checksum has a formula of torch beside its C function
    sparse |= {"spikingtorch.jax.handler", "spikingtorch.functional.checksum"}
    known = modules()
    knowing = {name for name, path in known.items() if imported(path) & modules_of_a_target}
    knowing -= {name for name in known if room(name) in ("functional/fused/build", "cli")}
    assert knowing == {f"{fused}.runtime.{name}" for name in ("cpu", "gpu", "targets")} | loop_in_c | sparse

    def naming(word: str) -> set[str]:
        return {name for name, path in known.items() if f'"{word}"' in path.read_text()}

    # the small tensors of a trace live there, whatever the target; and the platform of XLA that has kernels
    of_c = {f"{fused}.runtime.cpu", "spikingtorch.jax.primitives"}
    assert naming("cpu") == {*of_c, "spikingtorch.functional.core.modes"}
    # a device of torch, and a backend of Triton; and the random numbers of a device are its own
    of_triton = {f"{fused}.{name}" for name in ("runtime.gpu", "codegen.triton", "build.triton_kernel")}
    assert naming("cuda") == of_triton | {"spikingtorch.functional.core.surroundings"}


def _code(text: list[str], function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the lines of a function but for its head, its docstring and comments."""
    body = function.body[ast.get_docstring(function) is not None :]
    lines = text[body[0].lineno - 1 : function.end_lineno] if body else []
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


def test_functions_are_short_or_say_why_not() -> None:
    functions = {
        f"{name}.{node.name}": len(_code(text, node))
        for name, path in modules().items()
        for text in [path.read_text().splitlines()]
        for node in parsed(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    # one text, in the order in which a kernel runs
    texts = {"spikingtorch.functional.fused.codegen.c.backward_source"}
    assert {name for name, lines in functions.items() if lines > 40} == texts


def test_no_file_of_tests_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert not [path for path, lines in lengths.items() if lines > 400]


def test_no_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: imported(path) - {module} for module, path in modules().items()}).prepare()
