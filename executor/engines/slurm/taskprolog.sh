#!/bin/sh
# TaskProlog= of slurm.conf: what it prints becomes the environment of every task.
echo "export JOBLET_EXEC_PROFILE=slurm"
echo "export JOBLET_EXEC_STORE=/local/$SLURM_JOB_USER/joblet"
echo "export JOBLET_EXEC_SHARED_STORES=/shared/joblet"
echo "export JOBLET_EXEC_REGISTRY=/shared/registry"
