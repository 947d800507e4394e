"""Engine of a sweep on Ray: one machine, or a cluster whose nodes share a folder."""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from pyrocount.errors import InputError, require_extra

from .grid import Task
from .task import Outcome, Place, run_task

# Number of times that Ray begins a fit anew, from its last checkpoint, when its worker is lost.
RETRIES = 3
# Seconds to wait for a cluster to answer.
SECONDS = 10


def run_on_ray(
    tasks: Iterable[Task],
    place: Place,
    done: Callable[[Outcome], None],
    *,
    address: str | None = None,
    jobs: int | None = None,
    cpus: float = 1,
    gpus: float = 0,
    sequential: bool = False,
) -> None:
    """Runs tasks as tasks of Ray, as many at a time as its resources allow.

    Args:
        tasks: fits of the sweep.
        place: where they are kept: a folder that all nodes have, as an absolute path.
        done: called with the outcome of each task as it ends.
        address: address of a cluster, or ``"auto"``; None starts Ray on this machine.
        jobs: number of processors of a Ray that is started here, in fits.
        cpus: processors of each fit, to which its threads are limited.
        gpus: graphics cards, or parts of one, of each fit.
        sequential: whether a task is taken only as there are resources for it, because it depends on those that ended;
            otherwise all are handed to Ray, to which a cluster may answer by growing.

    Raises:
        InputError: naming ``--engine``, if Ray is not installed, or ``--address``, if there is no such cluster.
    """
    with require_extra("ray", "--engine", "ray"):
        import ray
    started = not ray.is_initialized()
    if started:
        # Ray would send statistics of its use to its makers, and listen to other machines.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        node = None if address is not None else "127.0.0.1"
        if address is not None:
            _reachable(address)
        here = None if address is not None or jobs is None else max(1, round(jobs * cpus))
        try:
            ray.init(
                address,
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,
                num_cpus=here,
                _node_ip_address=node,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            problem = f"{address} ({' '.join(str(error).split())[:200]})"
            raise InputError("--address", problem, "the address of a running Ray cluster") from error
    try:
        threads = {"OMP_NUM_THREADS": str(max(1, int(cpus)))}
        remote = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, runtime_env={"env_vars": threads}, max_calls=0
        )(run_task)
        source = iter(tasks)
        at_once = _slots(ray.cluster_resources(), cpus, gpus) if sequential else None
        waiting = {remote.remote(task, place): task for task in islice(source, at_once)}
        while waiting:
            (ready,), _ = ray.wait(list(waiting))
            task = waiting.pop(ready)
            try:
                done(ray.get(ready))
            except ray.exceptions.RayError as error:
                problem = f"Ray gave it up: {' '.join(str(error).split())[:200]}"
                done(Outcome(task.name, 0.0, problem, task.trial))
            waiting |= {remote.remote(task, place): task for task in islice(source, 1)}
    finally:
        if started:
            ray.shutdown()


def _slots(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Returns how many fits a cluster holds at a time, at least one."""
    parts = [resources.get("CPU", 0) / cpus] + ([resources.get("GPU", 0) / gpus] if gpus else [])
    return max(1, int(min(parts)))


def _reachable(address: str) -> None:
    """Checks that something listens at ``host:port``, as Ray would wait for it for minutes.

    Raises:
        InputError: naming ``--address``.
    """
    host, mark, port = address.rpartition(":")
    if not mark or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except OSError as error:
        raise InputError("--address", f"{address} ({error})", "the address of a running Ray cluster") from error
