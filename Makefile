# Each target works on a fresh clone by itself: it makes .venv when there is none.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EXPERIMENTS := chexnet14 pneumonia localization evaluate compare radiologists

.PHONY: install reports test lab browser readme docs clean

install: $(READY)
$(READY): setup.py settings.ini constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

# Draws the phantom, prepares it, runs every experiment at the demo preset; what is finished is not run again.
reports: $(EXPERIMENTS:%=reports/%/report.json)
	$(BIN)/chexnet index
reports/localization/report.json: reports/chexnet14/report.json
reports/%/report.json: $(READY)
	$(BIN)/chexnet run $*

# Every notebook, then what needs a process of its own.
test: $(READY)
	$(BIN)/nbdev_test --n_workers 2
	$(BIN)/python -m pytest -q tests

lab: $(READY)
	$(BIN)/jupyter lab nbs

# The browser of class activation maps as a page of its own, for whoever has the token in the link that it prints; under another
# name than this machine's it answers nobody (no remote access: a page elsewhere could otherwise reach it by a name of its own).
VOILA := --Voila.ip=127.0.0.1 --Voila.auto_token=True --Voila.tornado_settings=allow_remote_access=
browser: reports/chexnet14/report.json
	$(BIN)/voila nbs/tutorials/cam_browser.ipynb $(VOILA)

# README.md from nbs/index.ipynb.
readme: $(READY)
	$(BIN)/python tests/test_in_step.py

# The HTML documentation, in _docs.
docs: $(READY)
	$(BIN)/python -c 'from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml; from nbdev.serve import proc_nbs; refresh_quarto_yml(); nbdev_sidebar(); proc_nbs()'
	$(BIN)/smalldocs render _proc
	rm -rf _docs && mv _proc/_docs _docs

clean:
	rm -rf _proc _docs build dist *.egg-info
