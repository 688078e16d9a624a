"""Specs written in a test, trained without the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kerascli.check import check
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.runner import Logs, Runner
from kerascli.sources.base import Dataset
from kerascli.trainer import Trainer
from kerascli.training import Silence, read_data


@dataclass
class Lesson:
    """A spec, its data, and a runner with initial weights; closed with its session."""

    model: Model
    data: Dataset
    runner: Runner
    folder: Path
    logs: list[Logs] = field(default_factory=list)

    def trainer(self) -> Trainer:
        def nothing(path: Path) -> None:
            """Saves nothing."""

        data = self.data
        return Trainer(self.runner, data.train, data.validation, self.folder, Silence(), nothing, nothing)

    def fit(self) -> dict[str, Array]:
        """Train to the end; the weights."""
        with self.runner.session:
            trainer = self.trainer()
            self.logs = [logs for _, logs, _, _ in trainer.fit(list(self.model.spec.callbacks))]
        return self.runner.parameters.copy()


def lesson(text: str, folder: Path, workers: int = 1, processes: bool | None = None) -> Lesson:
    """The spec `text`, ready to be trained on so many workers."""
    file = folder / "spec.yaml"
    file.write_text(text)
    model = Model.of(check(file))
    runner = Runner(model, workers, trains=True, processes=processes)
    runner.initialise()
    return Lesson(model, read_data(model), runner, folder)


IMAGES = "{type: synthetic, kind: images, samples: 330, shape: [8, 8, 3], classes: 3, validation_split: 0.2}"
TOKENS = "{type: synthetic, kind: sequences, samples: 400, shape: [9], vocabulary: 30, validation_split: 0.2}"
VECTORS = "{type: synthetic, kind: classification, samples: 1500, shape: [20], classes: 3, validation_split: 0.2}"

CNN = f"""
seed: 3
dataset: {IMAGES}
layers:
  - {{type: Rescaling, scale: 0.004}}
  - {{type: Conv2D, filters: 32, kernel_size: 3, padding: same, use_bias: false}}
  - BatchNormalization
  - ReLU
  - {{type: Conv2D, filters: 16, kernel_size: 3}}
  - BatchNormalization
  - ReLU
  - MaxPooling2D
  - Flatten
  - {{type: Dropout, rate: 0.4}}
  - {{type: Dense, units: 3, activation: softmax}}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: {{type: Adam, learning_rate: 0.01}}
training: {{epochs: 2, batch_size: 50}}
"""

LSTM = f"""
seed: 3
dataset: {TOKENS}
layers:
  - {{type: Embedding, input_dim: 30, output_dim: 8, mask_zero: true}}
  - {{type: SpatialDropout1D, rate: 0.1}}
  - type: Bidirectional
    layer: {{type: LSTM, units: 24, return_sequences: true, dropout: 0.2, recurrent_dropout: 0.2}}
  - {{type: LSTM, units: 32, dropout: 0.1}}
  - {{type: Dense, units: 1, activation: sigmoid}}
loss: binary_crossentropy
metrics: [accuracy, AUC]
optimizer: rmsprop
training: {{epochs: 2, batch_size: 260}}
"""

MLP = f"""
seed: 3
dataset: {VECTORS}
layers:
  - {{type: Dense, units: 200, activation: relu, kernel_regularizer: l2,
     kernel_constraint: {{type: MaxNorm, max_value: 0.4}}}}
  - {{type: Dense, units: 100, activation: tanh}}
  - {{type: GaussianNoise, stddev: 0.1}}
  - {{type: Dense, units: 3, activation: softmax}}
loss: categorical_crossentropy
metrics: [accuracy, {{type: F1Score, average: macro}}]
optimizer: {{type: SGD, momentum: 0.9, learning_rate: 0.05, clipnorm: 0.5, use_ema: true, ema_momentum: 0.9}}
training: {{epochs: 2, batch_size: 500, class_weight: balanced}}
"""

MATRICES = (
    MLP.split("optimizer:")[0]
    + """optimizer: {type: Muon, learning_rate: 0.01, global_clipnorm: 1.0}
training: {epochs: 2, batch_size: 500}
"""
)

NETS = {"cnn": CNN, "lstm": LSTM, "mlp": MLP, "muon": MATRICES}
"""Small nets that have what makes equal bits hard: batch statistics, masks, random streams, norms over all weights,
rules on whole weights."""
