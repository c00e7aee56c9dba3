"""Ray: on the nodes of a cluster, each of which is in a sandbox."""
import socket
import time
import ray


@ray.remote(scheduling_strategy="SPREAD")
def square(number):
    time.sleep(2)  # long enough that one node does not do all of them
    return number * number, socket.gethostname()


if __name__ == "__main__":
    ray.init()
    squares, hosts = zip(*ray.get([square.remote(number) for number in range(10)]))
    print(sum(squares), "by", len(set(hosts)), "nodes")
