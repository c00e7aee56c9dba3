"""submitit: each task is Python in a runtime that has submitit, too."""
import os
import submitit

PYTHON = os.environ.get("PYTHON_OF_TASKS", "joblet-exec run --profile=slurm --env=SUBMITIT* --runtime=python-3.11 python3")


def add(a, b):
    return a + b


if __name__ == "__main__":
    executor = submitit.SlurmExecutor(folder="log", python=PYTHON)
    executor.update_parameters(time=5, mem=os.environ.get("MEMORY_OF_TASKS", "1G"))
    jobs = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    print([job.result() for job in jobs])
