"""The five tasks of the benchmark, one file each."""
