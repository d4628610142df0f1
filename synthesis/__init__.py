"""Affordance-aware data synthesis: labelled photos in, many more labelled images out."""
