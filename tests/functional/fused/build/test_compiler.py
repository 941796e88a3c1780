"""The C compiler: how it is found, what it is told, what is said when it fails, and whose OpenMP is taken."""

import ctypes
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from spikingtorch.functional.fused.build import compiler, openmp
from tests.functional.fused.build.kernels import SOURCE, Compiler, answer


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compiler, "find_zig", lambda: None)
    for value, message in {
        "": r"none of cc, gcc, clang is on the PATH. To get one: pip install \"spikingtorch\[compiler\]\"",
        " ": r"none of cc, gcc, clang is on the PATH. To get one: pip install",
        "no-such-compiler -m64": r"'no-such-compiler' is not a program here. To get one: pip install",
        "'gcc": "cannot be read as a command",
    }.items():
        monkeypatch.setenv("CC", value)
        for ask in (answer, compiler.fingerprint, compiler.find_compiler):
            with pytest.raises(compiler.NoCompiler, match=message):
                ask()


@pytest.mark.parametrize("name", compiler.COMPILERS)
def test_compiler_on_the_path(tmp_path: Path, cc: Compiler, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC")
    programs = tmp_path / "a folder"
    programs.mkdir()
    for present in compiler.COMPILERS[compiler.COMPILERS.index(name) :]:
        (programs / present).symlink_to(cc.script)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}" if name == "cc" else str(programs))
    assert compiler.find_compiler() == shlex.quote(str(programs / name))
    if name == "cc":
        assert answer() == 42
        assert cc.runs == 1


def install_zig(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str = "zig") -> Path:
    """Put a package ziglang in the way of the real one, which fails if it is imported."""
    package = folder / "a site" / "ziglang"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it is to be found, and not imported')\n")
    (package / program).write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    return package / program


def test_zig_comes_after_the_path(tmp_path: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    zig = install_zig(tmp_path, monkeypatch)
    assert compiler.find_compiler() == str(cc.script)
    monkeypatch.delenv("CC")
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert compiler.find_compiler() == f"{shlex.quote(str(zig))} cc"
    before = compiler.fingerprint()
    compiler._identity.cache_clear()
    zig.write_text("another version")
    zig.chmod(0o755)
    assert compiler.fingerprint() != before
    (programs / "clang").symlink_to(cc.script)
    assert compiler.find_compiler() == str(programs / "clang")


def test_windows_knows_cc_and_zig(tmp_path: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    zig = install_zig(tmp_path, monkeypatch, "zig.exe")
    monkeypatch.delenv("CC")
    assert compiler.find_compiler() == f"{shlex.quote(str(zig))} cc"  # whatever cc is on the PATH
    monkeypatch.setattr(compiler, "find_zig", lambda: None)
    with pytest.raises(compiler.NoCompiler, match=r"CC is not set. To get one: pip install"):
        compiler.find_compiler()
    # backslashes stand for themselves, and quotes around a path with spaces do not
    monkeypatch.setattr("shutil.which", lambda program, path: program)
    assert compiler._command(r'"C:\Program Files\zig.exe" cc -g', None) == [r"C:\Program Files\zig.exe", "cc", "-g"]


def test_apples_clang(cc: Compiler) -> None:
    """It refuses OpenMP on its command line, and not of the compiler behind it."""
    cc.install("""
    for word; do
        [ "$word" != -fopenmp ] || [ "$before" = -Xclang ] || { echo unsupported option >&2; exit 1; }
        shift
        [ "$word" = -Xclang ] || set -- "$@" "$word"
        before=$word
    done""")
    source = "#ifdef _OPENMP\nint answer(void) { return 42; }\n#endif\n"
    for runs in (2, 3):
        assert answer(source + "\n" * runs) == 42
        assert cc.runs == runs


def test_compiler_whose_openmp_does_not_load(cc: Compiler) -> None:
    source = "int missing(void);\nint answer(void) {\n#ifdef MISSING\nreturn missing();\n#else\nreturn 42;\n#endif\n}\n"
    cc.install('case " $* " in *" -fopenmp "*) set -- "$@" -DMISSING -Wl,-z,now ;; esac')
    with pytest.warns(RuntimeWarning, match="has no OpenMP: It made a library that does not load: .*missing"):
        assert answer(source) == 42
    assert cc.runs == 3


def test_compiler_with_arguments(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (7, 8):
        monkeypatch.setenv("CC", f"env '{cc.script}' -DANSWER={value}")
        assert answer("int answer(void) { return ANSWER; }") == value
    assert cc.runs == 2


def test_compiler_without_openmp(cc: Compiler) -> None:
    source = "int answer(void) {\n#ifdef _OPENMP\nreturn 1;\n#else\nreturn 0;\n#endif\n}\n"
    assert answer(source) == 1
    cc.install('for word; do [ "$word" != -fopenmp ] || { echo no -fopenmp >&2; exit 1; }; done')
    for text in ("// again", "// and again"):  # said once, and not tried again
        with warnings.catch_warnings(record=True, action="always") as said:
            assert answer(source + text) == 0
        if text == "// again":
            (only,) = said
            assert str(only.message).startswith("compiled kernels run on one thread each, because ")
            assert str(only.message).endswith("has no OpenMP: no -fopenmp")
        else:
            assert not said
    assert cc.runs == 1 + 3 + 1


def test_compiler_that_fails(folder: Path, cc: Compiler) -> None:
    with pytest.raises(compiler.CompileError, match=r"(?s)cc -O3 .*-lm\nexit code 1\n.*<stdin>:1.*error:.*undeclared"):
        answer("int answer(void) { return oops; }")
    assert not list(folder.iterdir())
    cc.install("echo 'first words' >&2; seq 100000 >&2; exit 3")
    message = r"(?s)exit code 3\nfirst words.*\.\.\. \d+ more characters"
    with pytest.raises(compiler.CompileError, match=message) as error:
        answer()
    assert len(str(error.value)) < 6000
    cc.install('while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"; exit 0')
    with pytest.raises(compiler.CompileError, match="made a library that does not load"):
        answer()
    cc.script.write_bytes(b"\0nonsense")
    with pytest.raises(compiler.CompileError, match="It cannot be run"):
        answer("int answer(void) { return 43; }")


def test_compiler_that_does_nothing(cc: Compiler, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cc.install("echo noise; echo more noise >&2; exit 0")
    target = tmp_path / "kernels.so"
    target.write_text("left by an earlier run")
    with pytest.raises(compiler.CompileError, match="It reported success, and wrote no library"):
        compiler.compile_c(SOURCE, target)
    assert capfd.readouterr() == ("", "")


def test_fingerprint(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [compiler.fingerprint()]
    assert seen == [compiler.fingerprint()]
    for part in (os.path.realpath(cc.script), "-O3", "-fopenmp", os.uname().sysname):
        assert part in seen[0]
    for command in (f"{cc.script} -g", f"env {cc.script}"):
        monkeypatch.setenv("CC", command)
        seen.append(compiler.fingerprint())
    compiler._identity.cache_clear()
    os.utime(cc.script, (1, 1))
    seen.append(compiler.fingerprint())
    compiler._identity.cache_clear()
    monkeypatch.setattr(compiler, "_cpu", lambda: "another CPU")
    seen.append(compiler.fingerprint())
    compiler._identity.cache_clear()
    assert len(set(seen)) == 5
    assert cc.runs == 0


class Library:
    """A library of some functions, as ``ctypes`` has them."""

    def __init__(self, *names: str) -> None:
        self.functions = {name: ctypes.CFUNCTYPE(None)(lambda: None) for name in names}

    def __getattr__(self, name: str) -> Any:
        if name not in self.functions:
            raise AttributeError(name)
        return self.functions[name]

    def address(self, name: str) -> int | None:
        return ctypes.cast(self.functions[name], ctypes.c_void_p).value


class Kernels:
    """A library that takes threads, and notes what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[int | None, ...]] = []
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
        self.take_threads = kind(lambda *addresses: self.given.append(addresses))


def given(libraries: list[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[int | None, ...]:
    monkeypatch.setattr(openmp, "_libraries", lambda: libraries)
    openmp._team.cache_clear()
    openmp.warn_of_one_thread.cache_clear()
    kernels = Kernels()
    try:
        openmp.take_threads(kernels)
    finally:
        openmp._team.cache_clear()
    (found,) = kernels.given
    return found


def test_team_of_gnu(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Library("GOMP_parallel", *openmp._LLVM)
    assert given([Library(), both], monkeypatch) == (both.address("GOMP_parallel"), None, None, None)


def test_team_of_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    llvm = Library(*openmp._LLVM)
    assert given([Library(openmp._LLVM[0]), llvm], monkeypatch) == (None, *map(llvm.address, openmp._LLVM))


def test_no_team_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(RuntimeWarning, match="kernels run on one thread each, because torch has no OpenMP library"):
        assert given([Library()], monkeypatch) == (None, None, None, None)


def test_other_libraries_are_left_alone() -> None:
    openmp.take_threads(Library())


@pytest.mark.parametrize("name", ["libgomp-98b21ff3.so.1", "libgomp.so.1", "libomp.dylib", "libiomp5md.dll"])
def test_libraries_of_torch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    for each in (name, "libtorch_cpu.so", "libc10.dylib", "torch_cpu.dll"):
        (tmp_path / "lib" / each).touch()
    opened: list[str] = []
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(ctypes, "CDLL", lambda path: opened.append(path))
    monkeypatch.setattr(sys, "platform", "win32" if name.endswith(".dll") else "linux")
    openmp._libraries()
    assert [path and Path(path).name for path in opened] == [name, *([] if name.endswith(".dll") else [None])]


def test_threads_of_this_torch_are_found() -> None:
    openmp._team.cache_clear()
    assert openmp._team()[0] is not None or openmp._team()[-1] is not None
