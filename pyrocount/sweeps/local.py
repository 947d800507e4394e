"""Engine of a sweep on one machine: processes of joblib's loky."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED
from itertools import islice
from pathlib import Path

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor, wait
from joblib.externals.loky.process_executor import BrokenProcessPool

from .grid import Task
from .task import Outcome, Place, run_task

# Number of times that a fit may take its process down, before it is left out.
DEATHS = 2
# Variables of the environment that limit the threads of a process.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run_locally(tasks: Iterable[Task], place: Place, jobs: int, done: Callable[[Outcome], None]) -> None:
    """Runs tasks in processes of their own, a number of them at a time, which share the processors.

    A task is taken as a process becomes free.

    A process that dies, as for lack of memory, takes the others with it. All that had not ended begin anew from their
    checkpoints; those that were running at ``DEATHS`` such deaths are left out.

    Args:
        tasks: fits of the sweep.
        place: where they are kept.
        jobs: number of processes.
        done: called with the outcome of each task as it ends.
    """
    source = iter(tasks)
    left = {task.name: task for task in islice(source, jobs)}
    deaths: Counter[str] = Counter()
    threads = dict.fromkeys(THREADS, str(max(1, cpu_count() // jobs)))
    while left:
        pool = get_reusable_executor(max_workers=len(left), env=threads, reuse=False)
        kill = True
        try:
            running = {pool.submit(_marked, task, place) for task in left.values()}
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    outcome = future.result()
                    del left[outcome.name]
                    done(outcome)
                    for task in islice(source, 1):
                        left[task.name] = task
                        running.add(pool.submit(_marked, task, place))
            kill = False
        except BrokenProcessPool:
            marked = [name for name in left if _mark(left[name], place).exists()]
            for name in marked:
                _mark(left[name], place).unlink(missing_ok=True)
                deaths[name] += 1
            # Where none was running, processes die as they start.
            for name in [name for name in left if deaths[name] >= DEATHS] if marked else list(left):
                trial = left.pop(name).trial
                done(Outcome(name, 0.0, "its process died, perhaps for lack of memory", trial))
            left |= {task.name: task for task in islice(source, jobs - len(left))}
        finally:
            pool.shutdown(kill_workers=kill)


def _mark(task: Task, place: Place) -> Path:
    """Returns the path of a file that is there while the task runs."""
    return place.log(task).with_suffix(".running")


def _marked(task: Task, place: Place) -> Outcome:
    mark = _mark(task, place)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        return run_task(task, place)
    finally:
        mark.unlink(missing_ok=True)
