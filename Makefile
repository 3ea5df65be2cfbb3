# make install   everything, into .venv/
# make demo      the whole loop on the simulated robot, into runs/demo/
# make baselines the methods that the benchmark is compared with, into .venv-d3rlpy/: they need older libraries
# make check     style, types, and who may import whom
# make test      check, then the tests
# make clean     delete what install and the tools made; runs/ stays

PYTHON ?= python3
BIN := .venv/bin
ROOMS := $(patsubst %/__init__.py,%,$(wildcard */__init__.py ros2_ws/src/*/*/__init__.py))

.PHONY: install graphics demo baselines check test clean

install: .venv/installed

# torch goes alone and first: asked for by its exact version, it comes as the build without CUDA where an index offers one.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[sim,learn,viz,d4rl,sweep,ros,dev]'
	touch $@

# Videos need the system's EGL; without it everything else works.
graphics:
	@if command -v apt-get > /dev/null && ! dpkg -s libegl1 libgl1-mesa-dri > /dev/null 2>&1; then \
		{ test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y libegl1 libgl1-mesa-dri > /dev/null; } \
		|| echo 'No pictures: as root, run apt-get install libegl1 libgl1-mesa-dri'; \
	fi

demo: install graphics
	$(BIN)/quadloop loop --preset demo --out runs/demo --resume

baselines: .venv-d3rlpy/installed

.venv-d3rlpy/installed: constraints-d3rlpy.txt
	test -x .venv-d3rlpy/bin/python || $(PYTHON) -m venv .venv-d3rlpy
	.venv-d3rlpy/bin/pip install --quiet --constraint constraints-d3rlpy.txt torch==2.13.0
	.venv-d3rlpy/bin/pip install --quiet --constraint constraints-d3rlpy.txt d3rlpy==2.8.1
	touch $@

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(ROOMS) benchmarks quadloop.py
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -q

clean:
	rm -rf .venv .venv-d3rlpy build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
