"""Ray (not tested): workers in a runtime that has Ray, started on the node's own Ray."""
import ray

ray.init(runtime_env={"py_executable": "joblet-exec run --here --network=host --ipc=host --bind=/tmp/ray:/tmp/ray:rw "
                                       "--env=RAY_* --runtime=python-3.11 python3"})
