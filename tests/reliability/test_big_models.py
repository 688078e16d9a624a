"""What a big model takes of the memory: its weights, their gradients and the optimizer's slots, and little more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """
version: 1
name: big
dataset: {type: synthetic, samples: 64, shape: [1500], classes: 2}
layers:
  - {type: Dense, units: 3000, activation: relu}
  - {type: Dense, units: 3000, activation: relu}
  - {type: Dense, units: 2, activation: softmax}
loss: sparse_categorical_crossentropy
training: {epochs: 1, batch_size: 32}
"""

STEPS = """
import json, sys
from pathlib import Path
from kerascli.check import check
from kerascli.model import Model
from kerascli.runner import Runner
from kerascli.trainer import Trainer
from kerascli.training import Silence, read_data

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def nowhere(path):
    pass

model = Model.of(check(Path(sys.argv[1]), sys.argv[2:]))
data = read_data(model)
small = Runner(model, 1)  # all modules are read, and nothing is large yet
before = peak()
runner = Runner(model, 1, trains=True)
runner.initialise()
trainer = Trainer(runner, data.train, None, Path(), Silence(), nowhere, nowhere)
with runner.session as session:
    for k in range(3):
        session.run(trainer.job, trainer.feed.number, trainer.feed.batch(k).index, k, 0.001)
    lanes = session.plan(trainer.job).lanes
sizes = runner.parameters.flat.size, len(runner.parameters.slots), lanes
print(json.dumps([peak() - before, *sizes]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of a process")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_takes_weights_gradients_and_slots_and_a_third_more(optimizer: str, tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text(SPEC)
    command = [sys.executable, "-c", STEPS, str(tmp_path / "big.yaml"), f"optimizer={optimizer}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    taken, size, slots, lanes = json.loads(done.stdout)
    assert size > 13_000_000 and lanes > 1
    assert taken < 1.3 * 4 * size * (2 + slots)
