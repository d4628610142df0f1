"""The nodes of kalie."""
