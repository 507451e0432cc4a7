# Each target first makes .venv with all it needs (pip_ros/install.py; minutes once, then nothing).
# PYTHON=python3.12 make test    picks the Python;    TORCH=cu126 make gpu-check    the build of torch

READY = .venv/installed
SETUP = $(wildcard pip_ros/*.py pip_ros/*.txt pip_ros/*.cmake setup.py setup.cfg \
          pip_ros/tf2_msgs pip_ros/tf2_msgs/* pip_ros/tf2_msgs/*/* concerto_msgs concerto_msgs/* concerto_msgs/*/*)
# Any Python that runs may start the set-up; it looks for the right one itself.
STARTS = $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && echo $(p))
PYTHONS = $(foreach p,$(PYTHON) python3 /usr/bin/python3 python3.12 python3.11,$(STARTS))
START = $(or $(firstword $(PYTHONS)),$(error No Python 3 runs here: sudo apt install python3 python3-venv python3-dev))

# The ROS wheels mark processes of another environment; ours must start without the mark.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: demo test bench lint gpu-check
demo: $(READY) ; .venv/bin/python -m concerto_ros.ros.demo
test: $(READY) .venv/training ; .venv/bin/python -m pytest -n 2 --dist loadfile
bench: $(READY) .venv/bench ; .venv/bin/python -m bench
lint: $(READY) ; .venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy
gpu-check: $(READY) .venv/training ; CONCERTO_REQUIRE=gpu .venv/bin/python -m pytest -m gpu && .venv/bin/python -m bench.gpu && .venv/bin/python -m bench.gpu_training

$(READY): $(SETUP) ; @$(START) pip_ros/install.py
# Without --no-deps pip would replace torch; with TORCH=cu126, torchvision must be of that build, too.
.venv/training: training/requirements.txt $(READY) ; .venv/bin/pip install -q --no-deps -r $< $(TORCH:%=--extra-index-url https://download.pytorch.org/whl/%) && touch $@
.venv/bench: bench/requirements.txt $(READY) ; .venv/bin/pip install -q -r $< -c pip_ros/requirements.txt && touch $@
