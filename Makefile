# Commands for users: `make demo`, `make test`, `make docs`, `make newcomer`, `make install-check` and
# `make release-check`. Each creates its own virtual environments.
PYTHON ?= python3
# Hundreds of processes import the package, and none should have to compile it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs newcomer install-check release-check format bazel clean

# Two files at a time: most tests spend their time in a single thread, starting a program or tracing a graph. In the
# order of collection: otherwise the longest test would run last, and alone.
PYTEST = .venv/test/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# oneDNN trains the demo's small images two to three times faster than TensorFlow's default on AMD processors.
demo: .venv/demo/installed
	rm -rf demo_output
	TF_ENABLE_ONEDNN_OPTS=1 KERAS_BACKEND=tensorflow .venv/demo/bin/python -m examples.demo --workdir=demo_output

test:
	$(MAKE) --jobs=2 .venv/test/installed .venv/beam/installed
	.venv/test/bin/ruff check .
	.venv/test/bin/ruff format --check .
	KERAS_BACKEND=tensorflow $(PYTEST)
	KERAS_BACKEND=torch .venv/beam/bin/python -m pytest tests/bulk/test_beam.py
	KERAS_BACKEND=jax $(PYTEST) -m any_backend
	KERAS_BACKEND=torch $(PYTEST) -m any_backend
	$(PYTHON) tests/newcomer/run.py --first

# While working: lint, and the tests that train, export and convert nothing and start few processes.
QUICK = $(addprefix tests/,checkpoints data docs figures hub_modules metrics newcomer pretraining runs system zoo \
	inference/test_classifier.py saved_models/test_summary.py test_build_files.py test_imports.py test_setup.py)
SLOW = $(addprefix --ignore=tests/,checkpoints/remote checkpoints/test_reference.py data/loaders \
	$(addprefix checkpoints/readers/test_,fuzz.py h5.py hub_module.py keras_file.py) \
	$(addprefix data/test_,loading.py source.py tensorflow_for_data.py) $(addprefix data/sources/test_tfds,.py _records.py) \
	hub_modules/test_check.py pretraining/test_pack.py runs/test_cells.py system/test_startup.py)

check: .venv/test/installed
	.venv/test/bin/ruff check .
	.venv/test/bin/ruff format --check .
	KERAS_BACKEND=tensorflow $(PYTEST) $(QUICK) $(SLOW)

# Builds the documentation site, checks its links and code, and runs the examples of the docstrings: a few minutes. Not
# part of `make test`.
docs: .venv/docs/installed
	.venv/docs/bin/python -m tools.site

# Tests the wheel as a user without a checkout would use it, in a new environment outside of the checkout, with the code of
# all pages: many minutes. `make test` ends with that of the first pages, and `make release-check` with this.
newcomer:
	$(PYTHON) tests/newcomer/run.py

# Installs the wheel with the extra of each backend alone, and with none, in new environments. Not part of `make test`: it
# takes minutes, most of them for installations.
install-check:
	$(PYTHON) tests/newcomer/install_check.py

# Builds the archives of a release and checks all that can be checked before an upload: same bytes in every build, metadata,
# contents, licences, installations, the code of the pages. Takes as long as `make newcomer` and a few minutes more.
release-check:
	$(PYTHON) tests/newcomer/release_check.py

# The same tests under Bazel, offline, in the environment of `make test`; needs Debian's bazel-bootstrap. Not part of
# `make test`: it takes longer than that, because each test file runs in its own process.
# `python -m tools.build_files` updates the BUILD files after imports have changed.
bazel: .venv/test/installed
	VIRTUAL_ENV=$(CURDIR)/.venv/test bazel test //...

format: .venv/test/installed
	.venv/test/bin/ruff check --fix .
	.venv/test/bin/ruff format .

.venv/demo/installed: EXTRAS = hub
# All that the examples of the docstrings use.
.venv/docs/installed: EXTRAS = detection,docs,edge,safetensors,serving,tensorflow
.venv/test/installed: EXTRAS = detection,dev,edge,hub,huggingface,jax,kaggle,ray,safetensors,serving,torch
# Apart from the others: Beam needs older releases of some of the packages. Of the backends, torch installs fastest.
.venv/beam/installed: EXTRAS = beam,test,torch
# Not compiled by pip: Python compiles what it imports, a tenth of it.
.venv/%/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv --clear .venv/$*
	.venv/$*/bin/pip install --quiet --disable-pip-version-check --no-compile --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv demo_output site
