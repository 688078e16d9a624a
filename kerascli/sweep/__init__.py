"""Many trainings of one spec: a search over its values, run by Optuna in several processes and on several machines.

`space` puts values into the spec, and checks before the first trial that all of them make one that can be trained;
`folder` is the sweep's directory; `ledger` keeps the trials in Optuna's storage, so that none is lost; `worker` trains
one after the other in a process of its own; `crew` starts workers, watches them and stops them; `results` says what
they came to, and `page` shows it.
"""
