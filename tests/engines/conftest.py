"""What must be said to JAX before it is loaded: this CPU is two devices, and code that runs once need not be quick."""

import os

DEVICES = "--xla_force_host_platform_device_count"
FLAGS = f"{DEVICES}=2 --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
