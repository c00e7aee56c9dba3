"""Parsl (not tested): its workers in a runtime that has parsl."""
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider

config = Config(executors=[HighThroughputExecutor(
    provider=SlurmProvider(nodes_per_block=1, init_blocks=1, walltime="01:00:00"),
    launch_cmd="joblet-exec run --profile=slurm --runtime=python-3.11 " + HighThroughputExecutor(
        label="default").launch_cmd,
)])
