"""Keras's layers; a layer is known to the spec once it stands in a module of this folder."""
