# The three commands: `make demo`, `make playground` and `make test`. Everything they need is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
MODEL ?= shapes
OUT ?= out/demo.png

.PHONY: demo playground browser survey notebooks test docs types records fuzz matrix completeness scoreboard guide gallery benchmark rendering visual pictures screenshots clean

demo: .venv/installed
	@mkdir -p "$$(dirname "$(OUT)")"
	@$(BIN)/netlens explain "$(if $(IMAGE),$(IMAGE),images/scene.png)" --model "$(MODEL)" \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(METHOD),--method "$(METHOD)") -o "$(OUT)"

# BROWSER=no keeps it from opening a browser; exec, so that Ctrl-C ends no shell, which would be an error of make
playground: .venv/installed-playground
	@exec $(BIN)/netlens playground --model "$(MODEL)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
		$(if $(IMAGES),--images "$(IMAGES)") $(if $(PORT),--port $(PORT)) $(if $(filter no,$(BROWSER)),--no-browser)

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# every tab as a person would use it, the pages of surveys, atlases and claims; needs chromium
browser: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/playground tests/report tests/testing tests/studies -s

# surveys that are killed at random moments, surveys on Ray and torchrun, and studies with all seeds
survey: .venv/installed-survey
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "survey or not survey" tests/survey tests/studies

# every notebook from top to bottom
notebooks: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "notebook or not notebook" tests/test_notebooks.py --durations=0

# adapters/ is checked as what it is installed as, netlens.adapters
types: .venv/installed-test
	$(BIN)/mypy

# the site: guides, notebooks, API. A warning is an error, and so are a dead link and a request to another host
docs: .venv/installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m website

# what tests compare with, written anew: stub, lists and tables of the docs, refusals, the golden record
records: .venv/installed-test
	$(BIN)/python -m tests.lens_stub
	$(BIN)/python -m tests.docs.test_public
	$(BIN)/python -m tests.options.test_options
	$(BIN)/python -m tests.applicability.table
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.golden.values
	$(BIN)/python -m tests.golden.operations

fuzz: .venv/installed-test
	$(BIN)/python -m tests.generated.fuzz --modules $(or $(MODULES),2000)

# TIMM=families, TIMM=all (goes on where the last run stopped), HF=all or OTHERS=all; else torchvision
NETWORKS := $(if $(TIMM),timm-$(TIMM),$(if $(HF),huggingface,$(if $(OTHERS),others,torchvision)))

matrix: $(if $(METHODS),.venv/installed-superpixels,$(if $(TIMM)$(HF)$(OTHERS),.venv/installed-matrix,.venv/installed))
	$(BIN)/python -m $(if $(METHODS),benchmarks.methods --methods $(METHODS),benchmarks.matrix $(NETWORKS) \
		$(if $(filter all,$(TIMM)),--resume))

completeness: .venv/installed
	$(BIN)/python -m benchmarks.completeness

# the share inside the object on many scenes, and all methods by twenty metrics on a few, which takes an hour
scoreboard: .venv/installed-bench
	$(BIN)/python -m benchmarks.scoreboard
	$(BIN)/python -m benchmarks.evaluation --only all --images 4

guide: .venv/installed-superpixels
	$(BIN)/python -m benchmarks.guide --weights "$(WEIGHTS)" --photo "$(PHOTO)"

gallery: $(if $(LITE0),.venv/installed-timm,.venv/installed)
	$(BIN)/python -m benchmarks.gallery --weights "$(WEIGHTS)" --photos "$(PHOTOS)" $(if $(ONLY),--only $(ONLY)) \
		$(if $(LITE0),--lite0 "$(LITE0)")

benchmark: .venv/installed-bench
	$(BIN)/python -m benchmarks.forward
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.memory

rendering: .venv/installed-bench
	$(BIN)/python -m benchmarks.rendering

visual: .venv/installed-bench
	$(BIN)/python -m benchmarks.visual --weights "$(WEIGHTS)" --photo "$(PHOTO)"

screenshots: .venv/installed-test
	$(BIN)/python -m benchmarks.screenshots --weights "$(WEIGHTS)" --photos "$(PHOTOS)"

pictures: .venv/installed-superpixels
	$(BIN)/python -m benchmarks.pictures

.venv/installed: setup.py pyproject.toml constraints.txt
	@echo "Installing into .venv; with PyTorch, this takes some minutes the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-superpixels: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[superpixels]"
	touch $@

.venv/installed-playground: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[playground]"
	touch $@

.venv/installed-timm: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[timm]"
	touch $@

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	touch $@

.venv/installed-matrix: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[matrix]"
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

.venv/installed-survey: .venv/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	touch $@

clean:
	rm -rf .venv build *.egg-info out
