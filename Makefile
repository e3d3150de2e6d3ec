# Two commands do everything on a fresh Linux machine with Python: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
GPU_VENV ?= .venv-gpu
JOBS ?= 2
RELIABILITY = kills recorder bridge disk fuzz replug crowd sacrifice endurance

.PHONY: demo test check bench bench-scale size reliability test-gpu test-image test-vm clean

demo: $(VENV)/demo.installed  ## see it work: a real recording, then a simulated patient; DEMO_PAGE=1 keeps the live page open
	$(BIN)/rhythmd demo $(if $(DEMO_PAGE),--page)

test: $(VENV)/dev.installed  ## all tests, JOBS files at a time; those that need a GPU, a tool or data that is not here say so
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not alone'
	$(BIN)/python -m pytest -m alone

check: $(VENV)/dev.installed test  ## the tests, the linter and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.installed  ## what it costs: throughput, live load, latency, memory
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench

bench-scale: $(VENV)/dev.installed  ## what patches (1 to 64), hours (1 to 100) and workers (1, 2) cost: docs/scale.md
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.scale --plot docs/img/scale.svg
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.hours
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.workers

reliability: $(VENV)/dev.installed  ## kill, fill, unplug, crowd, fuzz and run it for a day: 40 minutes
	RHYTHMD_RELIABILITY=1 $(BIN)/python -m pytest -s $(RELIABILITY:%=tests/test_%.py)

size:  ## lines of the runtime, by module
	@wc -l daemon/*.py daemon/*/*.py dsp/*.py engines/*.py | sort -n

test-gpu: $(if $(GPU_PYTHON),,$(GPU_VENV)/installed)  ## what needs an NVIDIA GPU with TensorRT; GPU_PYTHON=python3.10: without a venv
	$(or $(GPU_PYTHON),$(GPU_VENV)/bin/python) -m pytest -m gpu

test-image:  ## build Dockerfile.jetson on a stand-in base and run the demo in it; needs root or Docker
	tests/image/build.sh

test-vm: $(VENV)/dev.installed  ## rehearse the installed service in an emulated machine; VM_ARCH=x86_64 or aarch64: that one
	$(BIN)/python -m tests.vm $(VM_ARCH)

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "rhythmd needs Python 3.10 or newer: make PYTHON=python3.12 (or another) $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "this Python has no venv: sudo apt install python3-venv" >&2; exit 2; }

$(VENV)/demo.installed: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/dev.installed: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(GPU_VENV)/installed: pyproject.toml  # TensorRT comes from apt, so the venv sees the system's packages
	@$(PYTHON) -m venv --system-site-packages $(GPU_VENV)
	$(GPU_VENV)/bin/pip install --quiet --ignore-installed --editable '.[dev,jetson]'
	@touch $@

clean:
	rm -rf $(VENV) $(GPU_VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
