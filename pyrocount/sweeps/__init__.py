"""Sweeps: many fits from one description, by engines that are well-kept libraries, and their comparison."""

from .grid import Task, grid, read_file, tasks_of
from .task import Outcome, Place, failed, run_task, state

__all__ = ["Outcome", "Place", "Task", "failed", "grid", "read_file", "run_task", "state", "tasks_of"]
