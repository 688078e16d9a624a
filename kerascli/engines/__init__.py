"""Other engines than our own, for the same spec and the same run."""
