# Each target works on a fresh clone by itself: it makes .venv when there is none.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The experiments of `make reports`, and the seconds that each took on two processors.
SECONDS := evaluate:11 radiologists:5 panel:10 compare:5 scoreboard:8 chexnet14:304 localization:17 maps:42 \
           pneumonia:106 audit:16 external:25
EXPERIMENTS := $(foreach each,$(SECONDS),$(firstword $(subst :, ,$(each))))
START := $(shell date +%s)
unexport PYTHONDONTWRITEBYTECODE # Where it is set, every process would compile anew all that it imports

.PHONY: install hooks reports real prior ablations test test-fast lab browser readme docs clean

# A present pip resolves in half the time of the one that Python brings. Most modules of packages are never imported: what is, is
# compiled then, which saves a minute. The last line does it for what most commands need, also where Python is told to leave no
# bytecode behind.
install: $(READY) hooks
$(READY): setup.py settings.ini constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[all]'
	$(BIN)/python -c "import chexnet_nb.cam.draw, chexnet_nb.models.chexnet, chexnet_nb.report.experiment, \
	  chexnet_nb.report.figures, ipykernel.kernelapp, scipy.ndimage"
	touch $@

# Any Jupyter of .venv cleans this checkout's notebooks as it saves them; nothing is written to the user's own configuration.
# In a clone, git merges notebooks cell by cell; by a path, so that it works in a terminal where .venv is not active.
hooks: $(READY)
	@mkdir -p .venv/etc/jupyter && ln -sfn "$(CURDIR)/.ci/lab.py" .venv/etc/jupyter/jupyter_server_config.py
	@! git rev-parse --git-dir >/dev/null 2>&1 || ( \
	  git config merge.nbdev-merge.name "notebooks, cell by cell" && \
	  git config merge.nbdev-merge.driver '"$(CURDIR)/$(BIN)/python" "$(CURDIR)/$(BIN)/nbdev_merge" %O %A %B %P' )

# Runs every experiment at the demo preset; what is finished is not run again. Simulated tables come first, so that a page can be
# opened after minutes, and then the trained network, whose page and maps most have come for.
reports: $(EXPERIMENTS:%=reports/%/report.json)
	$(BIN)/chexnet index
reports/localization/report.json reports/maps/report.json: reports/chexnet14/report.json
reports/%/report.json: $(READY)
	$(BIN)/chexnet run $*
	@$(BIN)/python .ci/progress.py $(START) $(SECONDS)

# Not of `reports`, as each trains for longer: the systems that the paper compares itself with, and its own choices one at a time.
prior: reports/prior_systems-demo/report.json
ablations: reports/ablations-demo/report.json
reports/%-demo/report.json: $(READY)
	$(BIN)/chexnet run $* --out reports/$*-demo

# The middle rung: real radiographs, on a laptop. DATA is a folder of them, of the release or a part of it; the rest goes to
# the experiment, such as ARGS='-p lists=FOLDER'.
real: $(READY)
	@test -n "$(DATA)" || { echo "name a folder of radiographs: make real DATA=data/nih"; exit 2; }
	$(BIN)/chexnet run chexnet14 --preset real -p data="$(DATA)" $(ARGS)

# Every notebook and what needs a process of its own, side by side in processes of one thread.
TESTS := $(BIN)/python -m pytest -q -n 2 --dist loadgroup tests
test test-fast: export OMP_NUM_THREADS := 1
test: $(READY)
	$(TESTS) --durations 20

# For the rhythm of work: the notebooks that differ from HEAD, the nearest of those that depend on them, and whether all is in
# step. What two minutes do not hold is skipped and counted; `make test` runs it.
test-fast: $(READY)
	$(TESTS)/test_notebooks.py tests/test_in_step.py --changed --within 80

# Notebooks are cleaned as they are saved (hooks); experiments write to reports/, as the command does. All of the checkout is
# at hand; the list of files begins with the tutorials.
lab: $(READY) hooks
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url="/lab/tree/nbs/welcome.ipynb?file-browser-path=/nbs/tutorials"

# The browser of class activation maps as a page of its own, for whoever has the token in the link that it prints; under another
# name than this machine's it answers nobody (no remote access: a page elsewhere could otherwise reach it by a name of its own).
# The page's template is the package's own.
VOILA := --Voila.ip=127.0.0.1 --Voila.auto_token=True --Voila.tornado_settings=allow_remote_access=
browser: reports/chexnet14/report.json
	JUPYTER_PATH="$(CURDIR)/chexnet_nb/assets" $(BIN)/voila nbs/tutorials/cam_browser.ipynb $(VOILA) --template=films

# README.md from nbs/index.ipynb.
readme: $(READY)
	$(BIN)/python tests/test_in_step.py

# The site, in _docs; a link that leads nowhere fails it.
docs: $(READY)
	$(BIN)/python docs/build.py

clean:
	rm -rf _proc _docs build dist *.egg-info
