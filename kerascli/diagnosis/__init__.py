"""What goes wrong in trainings, found while they run: each finding is one line with the place in the spec to change.

`finding` is what is told; `data` looks at the samples before training, `curves` at the figures of the epochs,
`gradients` at what the last step of an epoch left, `origin` at the batch that made NaN or infinity. Nothing here
changes a number of the training, and what costs time happens only once something cheap has looked wrong.
"""
