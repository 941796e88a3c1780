# make train    train the tutorial's network on handwritten digits
# make browser    a page on this machine where a network reads the digits that you draw; the first time, it trains for a minute
# make test     everything that has to pass: linters, mypy, doctests, tests, examples
# make coverage    the tests once more, and which lines and branches of spikingtorch/ they reach
# make check    the same for a minute: linter, mypy and the tests of the road from scan to a kernel
# make test-long    what is long by nature: long tests, more of the long tables, fuzzers; then, two at a time, test-gpu-text, test-cross, docs, a sample of test-oldest and test-newest, test-sanitizer, pyright
# make pyright  the second type checker, which is the one of many editors
# make test-sanitizer    kernels under AddressSanitizer, which sees every read and write beside an array
# make test-night    the rest of every long table, and what is longer still
# make test-oldest    the tests with the oldest PyTorch, NumPy and JAX that pyproject.toml states (.venv-oldest)
# make test-newest    the tests with the newest of these that it admits, on the newest Python here (.venv-newest)
# make test-gpu-text    kernels printed as Triton: interpreted beside the loop, and compiled, without a GPU (.venv-triton)
# make test-cross    the kernels compiled for AArch64, macOS and Windows, and run in an emulator or wine, on Linux (.venv-cross)
# make test-gpu    the same kernels on a GPU, beside the loop there (.venv-gpu, or an environment of yours: GPU_PYTHON=...)
# make test-peers    the layers of spikingtorch.like, and our NIR files, beside the libraries that they equal (.venv-bench)
# make nir-table    our NIR files in the readers of these libraries once more, and the tables of docs/nir_tables.md
# make docs     the documentation site, in docs/_build/html; every warning and every link that leads nowhere is an error (.venv-docs)
# make lines    how many lines the library and its tests have
# make mutate   change every place in the equations, one at a time, and count what the verification does not see
# make bench    speed and memory beside other libraries, in an environment of its own (.venv-bench)
# make bench-gpu    speed and memory on a GPU, beside the libraries that are installed (.venv-gpu, or GPU_PYTHON=...)
# make lock     the newest versions that pyproject.toml allows into .venv, make test, and constraints.txt from what passed
# make release  sdist and wheel, checked and tried out, and the notes of this version, in dist/; nothing is uploaded
# Each creates its virtual environment and installs into it when that has not happened yet.

# Python keeps what it has compiled, and pytest its assertions: tests start many processes that import the same
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
ARGS ?=
# versions that the tests have passed with
TESTED := --constraint constraints.txt
WORKERS ?= 2
# Python compiles the modules that it imports, few of those that are installed
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
BIN := .venv/bin

.PHONY: help train browser test coverage check test-long pyright test-sanitizer test-night test-oldest test-newest test-gpu-text test-cross test-gpu test-peers nir-table docs lines mutate bench bench-gpu lock release card lint ruff pages clean

help:
	@sed -n 's/^# make/make/p' Makefile

train: .venv/.examples
	@$(BIN)/python -m examples.train $(ARGS)

browser: .venv/.browser
	@$(BIN)/python -m examples.browser $(ARGS)

# what reads pages and types has one process each, so that beside it a core would be idle
test: ruff
	@said=$$(mktemp); { $(MAKE) --no-print-directory pages && echo "== mypy" && $(BIN)/mypy; } > $$said 2>&1 & read=$$!; \
	echo "== pytest: doctests, tests, examples"; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=10 --durations-min=5 $(ARGS); tested=$$?; \
	wait $$read; read=$$?; cat $$said; rm $$said; test $$tested = 0 -a $$read = 0

coverage: .venv/.dev
	@$(BIN)/python -m pytest -n $(WORKERS) -m "" --timeout=900 --cov=spikingtorch --cov-branch --cov-report=term:skip-covered $(ARGS)

CHECKED := test_architecture.py functional/test_neurons.py functional/fused/trace layers/test_layers.py layers/test_threads.py
check: lint
	@echo "== mypy"
	@$(BIN)/mypy spikingtorch
	@echo "== pytest: architecture, neurons, traces and guards, layers, threads"
	@$(BIN)/python -m pytest -n $(WORKERS) $(addprefix tests/,$(CHECKED)) $(ARGS)

MINUTES ?= 7
test-long: .venv/.dev
	@said=$$(mktemp); $(MAKE) --no-print-directory --silent $(foreach each,docs triton cross newest oldest,.venv-$(each)/.installed) \
	> $$said 2>&1 & installed=$$!; \
	echo "== pytest: long tests, and more cases of long tables"; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "long and not night" --durations=10 $(ARGS); tested=$$?; \
	wait $$installed; installed=$$?; cat $$said; rm $$said; test $$tested = 0 -a $$installed = 0
	@echo "== $(MINUTES) minutes of each fuzzer"
	@$(BIN)/python -m tests.fuzz.scan --minutes $(MINUTES) & scan=$$!; \
	$(BIN)/python -m tests.fuzz.jax_scan --minutes 2 --seed 900 & jax=$$!; \
	$(BIN)/python -m tests.fuzz.networks --minutes $(MINUTES) && wait $$scan && wait $$jax
	@$(MAKE) --no-print-directory --jobs 2 $(IN_WHOLE) WORKERS=0 ARGS= SAMPLE='-m "not (long or night)" $(OF_VERSIONS)' \
	test-gpu-text test-cross docs test-oldest test-newest test-sanitizer pyright

# two at a time, the longest first, in one process each, whose output is shown when it has ended, where make can do that;
# installed beside the long tests, and one after the other, because each builds the same package in this folder
IN_WHOLE := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

pyright: .venv/.dev
	@echo "== pyright"
	@NODE_OPTIONS=--max-semi-space-size=64 PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --warnings

test-sanitizer: .venv/.dev
	@echo "== kernels under AddressSanitizer"
	@$(BIN)/python -m tests.fuzz.address_sanitizer

test-night: .venv/.dev
	@echo "== pytest: the rest of long tables, and what is longer still"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m night $(ARGS)

# what meets parts of torch that change from release to release: its modes, its compiler, transforms, graphs and numbers
OF_VERSIONS := $(addprefix tests/,functional/core functional/test_transforms.py functional/test_compiled.py \
	functional/test_parallel.py functional/fused/codegen functional/fused/trace fold/test_corpus.py fold/test_hooks.py \
	fold/test_tracers.py layers distributed/test_fsdp.py distributed/test_tensor_parallel.py distributed/test_checkpoints.py \
	test_tutorial.py test_interop.py test_interrupts.py)

test-oldest: .venv-oldest/.installed
	@echo "== pytest with the oldest versions:" $$(grep -E '^(torch|numpy|jax)=' .venv-oldest/oldest.txt)
	@.venv-oldest/bin/python -m pytest -n $(WORKERS) $(or $(SAMPLE),-m "") $(ARGS)

test-newest: .venv-newest/.installed
	@echo "== pytest with the newest versions:" $$(.venv-newest/bin/python -c '$(VERSIONS)')
	@.venv-newest/bin/python -m pytest -n $(WORKERS) $(or $(SAMPLE),-m "") $(ARGS)

VERSIONS := import platform; from importlib.metadata import version; \
	print("Python", platform.python_version(), *[f"{name} {version(name)}" for name in ("torch", "numpy", "jax")])

test-gpu-text: .venv-triton/.installed
	@echo "== pytest: kernels printed as Triton, in its interpreter and in machine code"
	@.venv-triton/bin/python -m pytest -n $(WORKERS) tests/gpu_text $(ARGS)

test-cross: .venv-cross/.installed
	@echo "== pytest: kernels compiled for AArch64, macOS and Windows, and emulated"
	@.venv-cross/bin/python -m pytest -n $(WORKERS) tests/cross $(ARGS)

# a build of torch for the card of the machine, with Triton: pip takes one for CUDA, and one for ROCm is yours to install
GPU_PYTHON ?= .venv-gpu/bin/python
OF_GPU := $(if $(filter .venv-gpu/%,$(GPU_PYTHON)),.venv-gpu/.installed)

test-gpu: $(OF_GPU)
	@echo "== pytest: kernels on a GPU"
	@JAX_PLATFORMS=cpu $(GPU_PYTHON) -m pytest tests/gpu $(ARGS)

bench-gpu: $(OF_GPU)
	@$(GPU_PYTHON) -W ignore -m benchmarks.gpu $(ARGS)

card:
	@command -v nvidia-smi > /dev/null || command -v rocminfo > /dev/null || { echo "make test-gpu and make bench-gpu \
	need a GPU, and there is no driver of one: neither nvidia-smi nor rocminfo is on the PATH. Without a card, \
	make test-gpu-text interprets and compiles the same kernels."; exit 2; }

test-peers: .venv-bench/.peers
	@echo "== pytest: spikingtorch.like and NIR files beside the other libraries"
	@.venv-bench/bin/python -m pytest -n $(WORKERS) -W ignore tests/peers $(ARGS)

nir-table: .venv-bench/.peers
	@.venv-bench/bin/python -W ignore -m tests.interop.nir.peers.ours
	@.venv-bench/bin/python -m tests.interop.nir.peers.table

# From nothing, so that every notebook and every script of the gallery runs; FRESH= reads again what has changed alone. It
# writes all pages all the same, because the search otherwise loses the index entries of those that stay.
FRESH ?= --fresh-env
docs: .venv-docs/.installed
	@$(if $(FRESH),rm -rf docs/_build/html)
	@.venv-docs/bin/python docs/_site/stage.py
	@echo "== building the site: notebooks, gallery, reference; beside it, the explorer and the benchmarks at small sizes"
	@said=$$(mktemp); { .venv-docs/bin/python docs/_site/explorer.py && .venv-docs/bin/python -W ignore -m benchmarks.rehearsal; } \
	> $$said 2>&1 & tried=$$!; \
	.venv-docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky $(or $(FRESH),--write-all) --jobs $(WORKERS:0=1) --conf-dir docs/_site \
	--doctree-dir docs/_build/doctrees docs/_build/source docs/_build/html; built=$$?; wait $$tried; tried=$$?; \
	cat $$said; rm $$said; test $$built = 0 -a $$tried = 0
	@.venv-docs/bin/python docs/_site/check.py docs/_build/html

# of the files that git keeps: Python, C, and the READMEs inside the packages
lines:
	@for folder in spikingtorch tests; do echo "$$folder $$(git ls-files -z $$folder | xargs -0 cat | wc -l)"; done

mutate: .venv/.dev
	@echo "== every place in the equations changed, one at a time"
	@$(BIN)/python -m tests.verification.mutate $(ARGS)

bench: .venv-bench/.installed
	@.venv-bench/bin/python -m benchmarks $(ARGS)

lock: | .venv
	@echo "== installing the newest versions that pyproject.toml allows into .venv"
	@$(BIN)/python $(INSTALL) --upgrade --upgrade-strategy eager \
	--editable '.[dev,release]'
	@cp constraints.txt constraints.old
	@$(BIN)/python -m release.lock > constraints.new && mv constraints.new constraints.txt && touch .venv/.dev
	@$(MAKE) --no-print-directory test || { mv constraints.old constraints.txt; echo "The tests do not pass with these \
	versions: constraints.txt is as it was."; exit 1; }
	@rm constraints.old

release: .venv/.release
	@rm -rf dist build && mkdir dist
	@$(BIN)/python -m release.notes > dist/notes.md
	@echo "== building"
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m build --outdir dist > dist/build.log 2>&1 || { cat dist/build.log; exit 1; }
	@rm dist/build.log
	@echo "== checking"
	@$(BIN)/twine check --strict dist/*.tar.gz dist/*.whl
	@$(BIN)/check-wheel-contents dist/*.whl
	@echo "== the tutorial with the wheel, in an empty environment outside of this folder"
	@outside=$$(mktemp -d) && trap 'rm -rf "$$outside"' EXIT && $(BIN)/python -m venv "$$outside/venv" && \
	"$$outside/venv/bin/python" $(INSTALL) $(TESTED) dist/*.whl && \
	cp examples/tutorial.py "$$outside" && cd "$$outside" && venv/bin/python -W error tutorial.py > said || { cat said; exit 1; }
	@ls -l dist

lint: ruff pages

ruff: .venv/.dev
	@echo "== ruff"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet

pages: .venv/.dev
	@echo "== pages, and what describes the project"
	@$(BIN)/python docs/_site/lint.py & pages=$$!; $(BIN)/python -m release.check; project=$$?; \
	wait $$pages; pages=$$?; test $$pages = 0 -a $$project = 0

clean:
	rm -rf .venv .venv-bench .venv-docs .venv-oldest .venv-newest .venv-triton .venv-cross .venv-gpu docs/_build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# One stamp for each set of packages: it is made anew when pyproject.toml or constraints.txt changes.
.venv/.%: pyproject.toml constraints.txt | .venv
	@echo "== installing spikingtorch[$*] and PyTorch into .venv; the first time takes a few minutes"
	@$(BIN)/python $(INSTALL) $(TESTED) --editable '.[$*]'
	@touch $@

.venv-bench/.installed: pyproject.toml benchmarks/requirements.txt | .venv-bench
	@echo "== installing the other libraries into .venv-bench; the first time takes some minutes"
	@.venv-bench/bin/python $(INSTALL) -r benchmarks/requirements.txt --editable .
	@touch $@

# The older spikingtorch has the name of ours: it lies in a folder of its own, from which the tests load it. Sinabs pins
# nir to 1.0.4, which spikingtorch and SpikingJelly cannot work with; its reader works with 1.0.8.
.venv-bench/.peers: .venv-bench/.installed
	@echo "== installing pytest, DCLS, xylosim and the older spikingtorch into .venv-bench"
	@.venv-bench/bin/python $(INSTALL) pytest pytest-timeout pytest-xdist DCLS==0.1.1 xylosim==0.1.3
	@.venv-bench/bin/python $(INSTALL) --upgrade --no-deps \
	--target .venv-bench/older spikingtorch==0.1.3
	@.venv-bench/bin/python $(INSTALL) --no-deps nir==1.0.8 nirtorch==2.6
	@touch $@

# Each range of [project] dependencies and of the extra jax, by its lower end.
OLDEST := import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*[each.partition(",")[0].replace(">=", "==") for each in p["dependencies"] + p["optional-dependencies"]["jax"]], sep="\n")
.venv-oldest/.installed: pyproject.toml | .venv-oldest
	@echo "== installing the oldest versions into .venv-oldest; the first time takes some minutes"
	@.venv-oldest/bin/python -c '$(OLDEST)' > .venv-oldest/oldest.txt
	@.venv-oldest/bin/python $(INSTALL) -c .venv-oldest/oldest.txt --editable '.[dev]'
	@touch $@

.venv-newest/.installed: pyproject.toml | .venv-newest
	@echo "== installing the newest versions into .venv-newest; the first time takes some minutes"
	@.venv-newest/bin/python $(INSTALL) --upgrade --upgrade-strategy eager \
	--editable '.[dev]'
	@touch $@

NEWEST_PYTHON ?= $$(for python in python3.14 python3.13 python3.12 $(PYTHON); do \
	"$$python" -c "" 2> /dev/null && { echo "$$python"; break; }; done)
.venv-newest:
	@echo "== creating the virtual environment $@ with" $(NEWEST_PYTHON)
	@$(NEWEST_PYTHON) -m venv $@ || { rm -rf $@; exit 1; }

# Environments over .venv: they see its packages, and have their own in front of them.
.venv-docs .venv-triton .venv-cross: | .venv/.dev
	@echo "== creating the virtual environment $@, over .venv"
	@$(BIN)/python -m venv $@ || { rm -rf $@; exit 1; }
	@$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' \
	> $$($@/bin/python -c 'import site; print(site.getsitepackages()[0])')/over.pth

# The release of Triton that pairs with the torch of constraints.txt: pip takes it with a torch for GPUs alone.
.venv-triton/.installed: pyproject.toml constraints.txt | .venv-triton
	@echo "== installing Triton into .venv-triton"
	@.venv-triton/bin/python $(INSTALL) $(TESTED) triton==3.7.1
	@touch $@

.venv-cross/.installed: pyproject.toml constraints.txt | .venv-cross
	@echo "== installing a compiler and an emulator into .venv-cross"
	@.venv-cross/bin/python $(INSTALL) $(TESTED) --editable '.[cross]'
	@touch $@

# docutils is an older one than twine takes
.venv-docs/.installed: pyproject.toml constraints.txt docs/constraints.txt | .venv-docs
	@echo "== installing spikingtorch[docs], with Sphinx, into .venv-docs"
	@grep -v "^docutils=" constraints.txt > .venv-docs/tested.txt
	@.venv-docs/bin/python $(INSTALL) -c .venv-docs/tested.txt -c docs/constraints.txt \
	--editable '.[docs]'
	@touch $@

.venv-gpu/.installed: pyproject.toml benchmarks/requirements.txt | card .venv-gpu
	@echo "== installing spikingtorch[jax], PyTorch for CUDA and the other libraries into .venv-gpu; it takes a while"
	@.venv-gpu/bin/python $(INSTALL) -r benchmarks/requirements.txt \
	--editable '.[jax]' pytest pytest-timeout
	@touch $@

.venv .venv-bench .venv-oldest .venv-gpu:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "spikingtorch needs Python 3.11 or newer, \
	and $(PYTHON) is older. Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "== creating the virtual environment $@"
	@$(PYTHON) -m venv $@ || { rm -rf $@; exit 1; }
