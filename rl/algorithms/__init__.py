"""The algorithms: one file each, readable from top to bottom, with the same landmarks in the same order."""
