"""Callbacks: what happens between epochs and batches of a training."""
