"""Frames, cameras, calibration, masks, depth lifting."""
