"""The `kalie` command: one thin verb per file."""
