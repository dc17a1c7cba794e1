"""The training stack: M rows trained together as one stacked model, in plain PyTorch.

Read it from ``loop.train`` downwards. Needs torch, numpy and safetensors alone.

Suffixes of tensor names give their axes: M rows (trials, or folds of trials; m is M, or 1 where all
rows share), T trials, k folds, P parameters of a row, B examples of a minibatch, N training
examples, S steps, F features, C classes, H units of a hidden layer, L layers.
"""
