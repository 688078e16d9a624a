"""Optimizers: rules that change the weights, one file per close family."""
