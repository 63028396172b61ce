# Three commands for users: `make demo`, `make test` and `make newcomer`. Each makes its own virtual environment.
PYTHON ?= python3

.PHONY: demo test newcomer format bazel clean

# Two files at a time: most of a test is one thread that starts a program or traces a graph. In their order: the one
# long test would else come last, and alone.
PYTEST = .venv/test/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# oneDNN trains the demo's small images two to three times faster than TensorFlow's default on AMD processors.
demo: .venv/demo/installed
	rm -rf demo_output
	TF_ENABLE_ONEDNN_OPTS=1 KERAS_BACKEND=tensorflow .venv/demo/bin/python -m examples.demo --workdir=demo_output

test: .venv/test/installed
	.venv/test/bin/ruff check .
	.venv/test/bin/ruff format --check .
	KERAS_BACKEND=tensorflow $(PYTEST)
	KERAS_BACKEND=jax $(PYTEST) -m any_backend
	KERAS_BACKEND=torch $(PYTEST) -m any_backend
	$(MAKE) newcomer

# What a user meets who has the wheel and no checkout, in an environment that is made for it outside of the checkout.
newcomer:
	$(PYTHON) tests/newcomer/run.py

# The same tests under Bazel, offline, in the environment of `make test`; needs Debian's bazel-bootstrap. A quarter of
# an hour, since every test file is a process of its own: not part of `make test`.
# `python -m tools.build_files` writes the BUILD files after a change of imports.
bazel: .venv/test/installed
	VIRTUAL_ENV=$(CURDIR)/.venv/test bazel test //...

format: .venv/test/installed
	.venv/test/bin/ruff check --fix .
	.venv/test/bin/ruff format .

.venv/demo/installed: EXTRAS = hub
.venv/test/installed: EXTRAS = dev,edge,hub,huggingface,jax,kaggle,safetensors,serving,torch
.venv/%/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv --clear .venv/$*
	.venv/$*/bin/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv demo_output
