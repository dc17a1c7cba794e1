"""The service: carries out, on a Ray cluster, what people submit; any number of it may run.

``server.Server`` claims searches and gives each to a process of its own, a Ray job, in which
``carrying.carry_out`` runs the coordinator. All that they know of one another is in the database.
"""
