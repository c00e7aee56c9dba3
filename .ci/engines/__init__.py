"""The checks of `make cluster`: joblet-exec under a real Slurm on this machine (.ci/slurm), and under other engines there."""
