"""Which trials come next, and how ranges move: samplers, the refiner, the border check.

Called by the coordinator's planning and asking; everything here is a function of observations.
"""
