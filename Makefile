# Two commands do all the set-up: `make demo` and `make test`. Each makes .venv and installs the locked packages first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Waiting threads must not burn the cores that work; offline machines must not wait for a hub.
export OMP_WAIT_POLICY = PASSIVE
export HF_HUB_OFFLINE = 1

.PHONY: help demo test lint bench hammer fault conformance system clean

help:
	@echo "make demo         the main job: a prompt to a signed, marked, logged clip with sound, and what verify says of copies"
	@echo "make test         all tests"
	@echo "make lint         ruff, mypy --strict, and the arrows between the rooms"
	@echo "make fault        only the tests that break things on purpose"
	@echo "make conformance  only the tests against other people's rules"
	@echo "make bench        times and memory by stage"
	@echo "make hammer       writers and readers on one log, every proof checked"

$(STAMP): pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing (about 2 GB of packages the first time) …"
	@$(BIN)/pip install -q -c constraints.txt -e '.[generate,serve,heic,hsm,kms,postgres,report,bench,dev]'
	@touch $@

# OpenCV's wheel wants libGL in slim containers, the fault tests want strace, the page's tests Chromium. Only root can
# install them.
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  need=""; ldconfig -p | grep -q libGL.so.1 || need="$$need libgl1"; \
	  ldconfig -p | grep -q libgthread-2.0 || need="$$need libglib2.0-0"; \
	  command -v strace >/dev/null || need="$$need strace"; \
	  command -v chromium >/dev/null || need="$$need chromium fonts-noto-cjk"; \
	  command -v softhsm2-util >/dev/null || need="$$need softhsm2 opensc"; \
	  command -v exiftool >/dev/null || need="$$need libimage-exiftool-perl"; \
	  command -v ffprobe >/dev/null || need="$$need ffmpeg"; \
	  command -v mediainfo >/dev/null || need="$$need mediainfo"; \
	  if [ -n "$$need" ]; then apt-get update -q && apt-get install -q -y --no-install-recommends $$need; fi; \
	fi

demo: system $(STAMP)
	@rm -rf demo-out
	@$(BIN)/filigrana demo -o demo-out

test: system $(STAMP)
	$(BIN)/pytest -n 2 $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	@mkdir -p .mypy_cache/package && ln -sfn ../.. .mypy_cache/package/filigrana
	MYPYPATH=.mypy_cache/package $(BIN)/mypy -p filigrana
	$(BIN)/pytest -q -p no:randomly tests/unit/test_house.py

fault: system $(STAMP)
	$(BIN)/pytest tests/fault $(ARGS)

conformance: $(STAMP)
	$(BIN)/pytest tests/conformance $(ARGS)

bench: $(STAMP)
	$(BIN)/python benchmarks/stages.py

hammer: $(STAMP)
	$(BIN)/python benchmarks/log_hammer.py $(ARGS)

clean:
	rm -rf $(VENV) demo-out build *.egg-info
