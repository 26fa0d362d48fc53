# Two commands do everything on a fresh machine: `make demo` and `make test`. `make` lists the rest.

# The Python (3.11 or newer) that .venv is made with.
PYTHON ?= python3
VENV ?= .venv
# The release that is tested. It is installed first, by itself, so that nothing else chooses a build of PyTorch. On Linux
# the plain package index gives the CUDA build, several GB; for the CPU build name PyTorch's own index of CPU wheels:
#     make setup PIP_ARGS="--extra-index-url INDEX"
TORCH ?= torch==2.13.0
# Anything more for every `pip install`.
PIP_ARGS ?=
# What `make demo` asks, and about which picture.
PICTURE ?= src/cooper/assets/examples/room.png
QUESTION ?= How far is the red ball from the blue box?

BIN := $(VENV)/bin
# Not compiled as it is installed: that takes longer than unpacking, and most of PyTorch is never imported. Python compiles
# what it imports, once.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile $(PIP_ARGS)
unexport PYTHONDONTWRITEBYTECODE
PAGE := demo/chain.html
GL_PACKAGES := libegl1 libgl1-mesa-dri

# Beside any other busy process, spinning OpenMP threads cost a factor of ten. Must be set before torch is imported.
export OMP_WAIT_POLICY := PASSIVE
# By environment, so that any quotes in them are safe.
export PICTURE QUESTION

.PHONY: help setup setup-scenes demo test test-slow lint
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.setup-stamp ## make .venv and install cooper into it; then .venv/bin/cooper works

setup-scenes: $(VENV)/.scenes-stamp ## add what draws scenes: MuJoCo and, where missing, Debian's OpenGL packages
	$(ensure-gl)

demo: setup ## ask the shipped model about a picture (PICTURE=... QUESTION=...) and write the chain as a page
	@mkdir -p $(dir $(PAGE))
	@$(BIN)/cooper ask "$$PICTURE" "$$QUESTION" --html $(PAGE)
	@echo
	@echo "The whole chain, with its maps: $(CURDIR)/$(PAGE)"
	@echo "The shipped model knows its own small world only: simple rooms with a few plain objects. For real pictures load"
	@echo "a published checkpoint: $(BIN)/cooper ask PICTURE QUESTION --model FOLDER"

test: $(VENV)/.test-stamp ## run the tests, all but the slow ones
	$(ensure-gl)
	@# files of tests side by side, each on one thread: half the time of one after the other on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	    --durations 20

test-slow: $(VENV)/.test-stamp ## run the slow tests
	$(ensure-gl)
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev-stamp ## check style (ruff) and types (mypy)
	$(BIN)/ruff check
	$(BIN)/mypy

# Stamps say what .venv holds, so that a second call is instant; a changed pyproject.toml makes all of them again.
$(VENV)/.python-stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "cooper needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.setup-stamp: pyproject.toml $(VENV)/.python-stamp
	$(PIP) "$(TORCH)"
	$(PIP) --quiet --editable .
	@$(BIN)/python -c "import cooper.api"  # compiled, also for those who have Python write nothing later
	@ls -d $(VENV)/lib*/python*/site-packages/nvidia >/dev/null 2>&1 && \
	    echo "Note: this is PyTorch's CUDA build. For the small CPU build see TORCH and PIP_ARGS in the Makefile." || true
	@touch $@

$(VENV)/.scenes-stamp: $(VENV)/.setup-stamp
	$(PIP) --quiet --editable ".[scenes]"
	@touch $@

$(VENV)/.test-stamp: $(VENV)/.setup-stamp
	$(PIP) --quiet --editable ".[test]"
	@touch $@ $(VENV)/.scenes-stamp

$(VENV)/.dev-stamp: $(VENV)/.setup-stamp
	$(PIP) --quiet --editable ".[dev]"
	@touch $@ $(VENV)/.test-stamp $(VENV)/.scenes-stamp

# The only honest check for a headless OpenGL is to open one: a library may be there without a driver.
CAN_DRAW := $(BIN)/python -c 'from cooper.scenes.render import Renderer; Renderer(16).close()'

define ensure-gl
@$(CAN_DRAW) 2>/dev/null || { \
    command -v apt-get >/dev/null || { \
        echo "Drawing scenes needs a headless OpenGL, EGL or OSMesa (Debian: $(GL_PACKAGES)). There is no apt-get here:" \
             "install it with your system's package manager, then try again." >&2; exit 1; }; \
    if [ "$$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi; \
    echo "Installing what draws without a screen: $(GL_PACKAGES)"; \
    $$as_root apt-get update -qq && $$as_root apt-get install -y -qq $(GL_PACKAGES) && $(CAN_DRAW); }
endef
