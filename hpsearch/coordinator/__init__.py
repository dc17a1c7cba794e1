"""What to do next, and the one loop that does it.

``planning``, ``asking``, ``packing`` and ``progress`` are pure functions of stored records;
``loop.Coordinator`` commits what they decide and hands groups to an executor.
"""
