"""What programs with PyTorch ask their host: each probe prints a line if it fails. `probe_torch.py rank` is a process of torchrun."""
import os
import subprocess
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, TensorDataset


def loader_with_workers():
    data = TensorDataset(torch.arange(1000.0), torch.arange(1000))
    for method in ("fork", "spawn"):
        loader = DataLoader(data, batch_size=50, num_workers=2, shuffle=True, multiprocessing_context=method)
        assert sum(int(label.sum()) for _, label in loader) == 499_500, method


def loader_with_large_batches():
    # A batch of 40 MB goes through /dev/shm.
    data = TensorDataset(torch.ones(20, 500_000))
    loader = DataLoader(data, batch_size=10, num_workers=2, persistent_workers=True)
    assert [batch.shape[0] for _ in range(2) for (batch,) in loader] == [10] * 4


def add_one(shared, lock):
    for _ in range(100):
        with lock:
            shared += 1


def shared_tensors():
    for strategy in mp.get_all_sharing_strategies():
        mp.set_sharing_strategy(strategy)
        context = mp.get_context("spawn")
        shared, lock = torch.zeros(4).share_memory_(), context.Lock()
        workers = [context.Process(target=add_one, args=(shared, lock)) for _ in range(2)]
        [it.start() for it in workers]
        [it.join() for it in workers]
        assert shared.tolist() == [200.0] * 4, (strategy, shared)


def all_reduce(rank, size, at):
    dist.init_process_group("gloo", init_method=f"file://{at}", rank=rank, world_size=size)
    value = torch.tensor([rank + 1.0])
    dist.all_reduce(value)
    assert value.item() == size * (size + 1) / 2, value
    dist.barrier()
    dist.destroy_process_group()


def gloo_by_file():
    with tempfile.TemporaryDirectory() as at:
        mp.spawn(all_reduce, args=(3, f"{at}/rendezvous"), nprocs=3)


def gloo_by_torchrun():
    command = ["torchrun", "--standalone", "--nproc-per-node=2", __file__, "rank"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert output.returncode == 0 and output.stdout.count("rank is fine") == 2, output


def rank():
    dist.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    model(torch.ones(2, 4) * dist.get_rank()).sum().backward()
    gathered = [torch.zeros(1, 4) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, model.module.weight.grad)
    assert torch.equal(gathered[0], gathered[1])
    print("rank is fine", flush=True)
    dist.destroy_process_group()


def compiled():
    once = torch.compile(lambda it: torch.sin(it) ** 2 + torch.cos(it) ** 2)
    assert torch.allclose(once(torch.arange(64.0)), torch.ones(64))


def saved():
    with tempfile.TemporaryDirectory(dir="/work") as at:
        torch.save({"a": torch.ones(3)}, f"{at}/model.pt")
        os.rename(f"{at}/model.pt", f"{at}/moved.pt")
        assert torch.load(f"{at}/moved.pt", mmap=True)["a"].sum() == 3


def threads():
    assert torch.get_num_threads() == len(os.sched_getaffinity(0)), torch.get_num_threads()


def main():
    probes = [loader_with_workers, loader_with_large_batches, shared_tensors, gloo_by_file, gloo_by_torchrun, compiled, saved, threads]
    failed = 0
    for probe in probes:
        try:
            probe()
        except BaseException as error:
            failed += 1
            print(f"FAILED {probe.__name__}: {error!r}", flush=True)
    print(f"Result: {failed} of {len(probes)} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    rank() if sys.argv[1:] == ["rank"] else main()
