"""Memory that is freed and taken again costs no new pages."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from pyrocount.process.memory import keep_freed
keep_freed()

def work():
    parts = [torch.zeros(200_000) for _ in range(20)]

for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    work()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("own", [False, True])
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(own):
    """The 20 tensors have 4000 pages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    if own:
        environment["MALLOC_TRIM_THRESHOLD_"] = "0"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert (float(run.stdout) < 100) != own
