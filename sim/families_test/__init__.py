"""Object families of the test split, one file per task: frozen by hash before any training run.

Each module lists its families in `FAMILIES`; `sim.registry` collects them. Training and synthesis code may
not import this package.
"""
