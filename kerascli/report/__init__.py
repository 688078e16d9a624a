"""A run as one offline HTML page: what is measured (pure data), how it is drawn, the page.

`measures` are formulas on arrays; `results` applies them to a model's predictions as they stream by; `cards` describe
data and model; `gather` puts everything together. `samples` shows single inputs, `charts` draws, `page` writes.
"""
