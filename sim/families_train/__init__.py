"""Object families of the training and validation splits: one file per task.

Each module lists its families in `FAMILIES`; `sim.registry` collects them.
"""
