"""The training stack: M members trained together as one stacked model, in plain PyTorch.

Read it from ``loop.train`` downwards. Needs torch, numpy and safetensors alone.

Suffixes of tensor names give their axes: M members, P parameters of a member, B examples of a
minibatch, F features, C classes, H units of a hidden layer.
"""
