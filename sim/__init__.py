"""PyBullet scenes, the five tasks, object families, the benchmark."""
