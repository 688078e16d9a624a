"""A trained model over HTTP: predictions, a description of itself, and a page to try it on."""
