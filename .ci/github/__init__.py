"""A stand-in for GitHub, as far as the workflows of this repository use it: `make field`."""
