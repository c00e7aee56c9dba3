"""Parsl: its workers in a runtime that has Parsl, too; they meet by the host's network."""
import os
import parsl
from parsl.addresses import address_by_hostname
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider

RUN = os.environ.get("RUN_OF_TASKS", "joblet-exec run --profile=slurm --runtime=python-3.11")


@parsl.python_app
def square(number):
    return number * number


if __name__ == "__main__":
    memory = int(os.environ.get("MEMORY_OF_TASKS", "4"))  # GB
    provider = SlurmProvider(mem_per_node=memory, exclusive=False, init_blocks=1, max_blocks=1, walltime="01:00:00")
    executor = HighThroughputExecutor(address=address_by_hostname(), max_workers_per_node=2, provider=provider)
    executor.launch_cmd = f"{RUN} {executor.launch_cmd}"
    with parsl.load(parsl.Config(executors=[executor])):
        print(sum(call.result() for call in [square(number) for number in range(10)]))
