"""What Keras 3.15 exports and a spec cannot say: why, and what to write instead."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Why a component is left out."""

    why: str
    """Follows "`Lambda` is left out: "."""
    instead: str


CODE = "it runs Python code, and a spec holds none"
BASE = "it is the base class of those written in Python"


def _base(family: str) -> Reason:
    return Reason(BASE, f"`kerascli explain {family}` lists the members")


LEFT_OUT: dict[str, dict[str, Reason]] = {
    "layer": {
        "Lambda": Reason(CODE, "use Activation, Rescaling, EinsumDense or a merging layer"),
        "JaxLayer": Reason("it wraps a function of JAX, and there is no framework here", "write its layers out"),
        "FlaxLayer": Reason("it wraps a module of Flax, and there is no framework here", "write its layers out"),
        "TorchModuleWrapper": Reason(
            "it wraps a module of PyTorch, and there is no framework here", "write its layers out"
        ),
        "TFSMLayer": Reason(
            "it runs a SavedModel of TensorFlow, and there is no framework here", "write its layers out"
        ),
        "Layer": _base("layer"),
        "Wrapper": Reason(BASE, "use TimeDistributed, Bidirectional or SpectralNormalization"),
        "InputSpec": Reason("it describes the inputs of layers written in Python", "use `shape` of Input"),
        "MixUp": Reason(
            "it mixes targets too, and a layer sees none", "use RandomErasing, or another augmentation of images alone"
        ),
        "CutMix": Reason(
            "it mixes targets too, and a layer sees none", "use RandomErasing, or another augmentation of images alone"
        ),
        "MaxNumBoundingBoxes": Reason("it pads bounding boxes, and no dataset has them", "leave it out"),
        "Pipeline": Reason("it is a list of layers", "write them in `layers` one after the other, or in a Model"),
        "Sequential": Reason("a stack and a graph are written alike", "write {type: Model, layers: [...]}"),
        "Functional": Reason("a stack and a graph are written alike", "write {type: Model, layers: [...]}"),
    },
    "loss": {"Loss": _base("loss")},
    "metric": {
        "Metric": _base("metric"),
        "MeanMetricWrapper": Reason("it wraps a function of Python", "name one of the metrics"),
        "huber": Reason("Keras itself takes it as a loss alone", "use mae or mse"),
        "log_cosh": Reason("Keras itself takes it as a loss alone", "use LogCoshError"),
        "binary_focal_crossentropy": Reason("Keras itself takes it as a loss alone", "use BinaryCrossentropy"),
        "categorical_focal_crossentropy": Reason(
            "Keras itself takes it as a loss alone", "use CategoricalCrossentropy"
        ),
    },
    "optimizer": {
        "Optimizer": _base("optimizer"),
        "LossScaleOptimizer": Reason("it is for float16, and training is in float32 here", "name the inner optimizer"),
        "MultiOptimizer": Reason("a model has one optimizer here", "name one; `trainable: false` holds layers fixed"),
        "OptimizerMap": Reason("a model has one optimizer here", "name one; `trainable: false` holds layers fixed"),
    },
    "schedule": {"LearningRateSchedule": _base("schedule")},
    "callback": {
        "Callback": _base("callback"),
        "CallbackList": Reason("it holds callbacks in Python", "list them under `callbacks`"),
        "LambdaCallback": Reason(CODE, "use ModelCheckpoint, EarlyStopping, CSVLogger or another callback"),
        "History": Reason("every run keeps its history without asking", "read `history.csv` of the run"),
        "ProgbarLogger": Reason("progress is shown without asking", "leave it out"),
        "OrbaxCheckpoint": Reason(
            "it writes with Orbax, a package of JAX", "use ModelCheckpoint or BackupAndRestore; `export` writes files"
        ),
        "RemoteMonitor": Reason(
            "it sends figures to a server", "read `history.csv` while the run goes on, or CSVLogger"
        ),
    },
    "initializer": {"Initializer": _base("initializer")},
    "regularizer": {"Regularizer": _base("regularizer")},
    "constraint": {"Constraint": _base("constraint")},
}
"""By family and Keras's name."""

FLOATS = Reason("numbers are float32 throughout, and whole numbers where a layer reads them", "leave it out")
LORA = Reason(
    "weights are trained whole, or not at all", "use `trainable: false` for layers that must stay as they are"
)
QUANTIZED = Reason("it is for layers of whole numbers", "`kerascli export --quantize` makes files smaller")
DENSE = Reason("arrays are dense and of fixed shape", "leave it out")
ARRAYS = Reason("a spec holds no arrays", "start from `training.initial_weights`")
BATCH = Reason(
    "the batch is no layer's business", "use `training.batch_size`, and `shape` of Input for a sample's shape"
)
SHAPE = Reason(
    "the shape of samples comes from the dataset", "leave it out, or put `{type: Input, shape: [...]}` first"
)

ARGUMENTS: dict[str, Reason] = {
    "dtype": FLOATS,
    "autocast": FLOATS,
    "lora_rank": LORA,
    "lora_alpha": LORA,
    "quantization_config": QUANTIZED,
    "gptq_unpacked_column_size": QUANTIZED,
    "use_cudnn": Reason("it is for graphics cards", "leave it out"),
    "sparse": DENSE,
    "ragged": DENSE,
    "optional": Reason("every input has data", "leave it out"),
    "weights": ARRAYS,
    "tensor": ARRAYS,
    "input_tensor": ARRAYS,
    "batch_size": BATCH,
    "batch_shape": BATCH,
    "batch_input_shape": BATCH,
    "input_shape": SHAPE,
}
"""Arguments of Keras's components that those here may lack; the last two are of older versions of Keras."""


def reason(family: str, name: str) -> Reason | None:
    """Why Keras's `name` is not here; None where it is here, or Keras has no such name."""
    return LEFT_OUT.get(family, {}).get(name)


def without(family: str, argument: object) -> Reason | None:
    """Why components of a family of Keras lack an argument; None where Keras has no such argument."""
    return ARGUMENTS.get(argument) if family in LEFT_OUT and isinstance(argument, str) else None
