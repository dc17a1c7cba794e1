"""What runs on the machine with the device: data, the training loop, the worker.

Importing this package loads no torch; ``workers.training`` does.
"""
