"""dask-jobqueue: workers in a runtime that has distributed; they meet the scheduler by the host's network."""
import os
from dask.distributed import Client
from dask_jobqueue import SLURMCluster

PYTHON = os.environ.get("PYTHON_OF_TASKS", "joblet-exec run --profile=slurm --env=DASK* --runtime=python-3.11 python3")


def square(number):
    return number * number


if __name__ == "__main__":
    cluster = SLURMCluster(cores=1, processes=1, memory=os.environ.get("MEMORY_OF_TASKS", "1GB"), python=PYTHON,
                           local_directory="/tmp", scheduler_options={"dashboard_address": None})
    cluster.scale(jobs=2)
    with Client(cluster) as client:
        print(sum(client.gather(client.map(square, range(10)))))
    cluster.close()
