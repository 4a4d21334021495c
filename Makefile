# make demo | test | check | clean | help. Needs Linux with python3 (3.11 or newer), gcc and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
BUILT_FROM := pyproject.toml edge_runtime/CMakeLists.txt
# offline: a folder ../shared beside the checkout serves the zoo's models and pictures
ifneq ($(wildcard ../shared/models),)
export EDGEQ_ZOO_MIRROR ?= $(abspath ../shared)
endif
CSOURCES = $(shell find edge_runtime/csrc -name '*.[ch]' -not -name isa.h)

.PHONY: demo test check format clean help venv dev valgrind aarch64

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/host.stamp ## install, then the tour: draw, quantize, find and read
	@$(BIN)/edgeq demo $(DEMO)

test: $(VENV)/dev.stamp ## run the tests, fast ones only (SLOW=1: all)
	@$(BIN)/python -m pytest -q $(if $(SLOW),,-m "not slow") $(TESTS)

check: $(VENV)/dev.stamp ## ruff, mypy, clang-format
	@echo "==> ruff"
	$(BIN)/ruff check --output-format concise .
	echo "==> mypy"
	$(BIN)/mypy
	echo "==> clang-format"
	$(BIN)/clang-format --dry-run -Werror $(CSOURCES)

valgrind: $(VENV)/dev.stamp ## the C tests and a damaged loader under valgrind
	@command -v valgrind >/dev/null || { echo "edgeq: valgrind must be installed, is not. Run: sudo apt install valgrind" >&2; exit 1; }
	export PATH="$(abspath $(BIN)):$$PATH"
	cmake -S edge_runtime -B build/plain -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS=-g >/dev/null
	cmake --build build/plain >/dev/null
	python -c 'import sys; from tests.runtime.samples import everything; sys.stdout.buffer.write(everything())' > build/plain/everything.edgeq
	# valgrind's CPU has no AVX-512 and no AVX-VNNI: those kernels are left to the sanitizers and the guard pages
	for test in test_kernels test_numerics test_threads "fuzz_loader build/plain/everything.edgeq 1 4000"; do
	  valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite build/plain/$$test
	done

aarch64: $(VENV)/dev.stamp ## NEON, dotprod and i8mm against x86, under qemu-user
	@PYTHON=$(abspath $(BIN))/python tests/aarch64/run.sh

format: $(VENV)/dev.stamp ## let ruff and clang-format mend what they can
	@$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CSOURCES)

dev: $(VENV)/dev.stamp ## install all that developers need, and the git hooks
	@$(PIP) install pre-commit
	$(BIN)/pre-commit install

clean: ## remove everything that was built, .venv too
	@rm -rf $(VENV) build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The build tools live in .venv too: the editable install rebuilds C on import when a source changed.
$(VENV)/host.stamp: $(BUILT_FROM)
	@bad() { printf 'edgeq: %s\n' "$$*" >&2; exit 1; }
	command -v $(PYTHON) >/dev/null || bad "$(PYTHON) must be installed, is not. Run: sudo apt install python3 python3-venv python3-dev"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || bad "Python must be 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V). Run: make PYTHON=python3.11"
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || bad "the venv module of $(PYTHON) must be installed, is not. Run: sudo apt install python3-venv"
	command -v cc >/dev/null || command -v gcc >/dev/null || bad "a C compiler must be installed, is not. Run: sudo apt install gcc"
	$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || bad "the headers of $(PYTHON) must be installed, are not. Run: sudo apt install python3-dev"
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	  echo "==> Making $(VENV)"
	  $(PYTHON) -m venv --clear $(VENV)
	fi
	echo "==> Installing build tools (once)"
	$(BIN)/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]))' > $(VENV)/build.txt
	$(PIP) install -r $(VENV)/build.txt cmake ninja
	echo "==> Building edgeq and installing what it needs (once, about a minute)"
	$(PIP) install --no-build-isolation -e ".[host]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/host.stamp
	@echo "==> Installing test and check tools (once)"
	$(PIP) install --no-build-isolation -e ".[host,dev]"
	touch $@
