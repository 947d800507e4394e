"""Pyro's and NumPyro's own tests of distributions, run with the distributions of pyrocount.

They need the sources of Pyro and NumPyro, as their packages come without these tests. The environment variables name
unpacked sources of the versions that are installed::

    PYROCOUNT_PYRO_SOURCES=.../pyro PYROCOUNT_NUMPYRO_SOURCES=.../numpyro python -m pytest tests/test_upstream.py -s
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SUITES = {
    "pyro": "tests/distributions/test_distributions.py",
    "numpyro": "test/test_distributions.py",
}
UNNORMALISED = "log_prob of a relaxed count is the log mass of counts, continued to real values: not a density"
# Tests that do not apply, and why.
EXPECTED = {
    "pyro": {"test_gof[RelaxedPoisson]": UNNORMALISED, "test_gof[RelaxedNegativeBinomial]": UNNORMALISED},
    "numpyro": {},
}


@pytest.mark.parametrize("library", SUITES)
def test_suite_of(library, tmp_path):
    variable = f"PYROCOUNT_{library.upper()}_SOURCES"
    folder = Path(os.environ.get(variable, ""))
    if variable not in os.environ or not (folder / SUITES[library]).is_file():
        pytest.skip(f"{variable} names no folder with {SUITES[library]}")
    report = tmp_path / "report.xml"
    plugins = Path(__file__).parent / "upstream"
    command = [sys.executable, "-m", "pytest", "-q", "-p", f"{library}_cases", "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, f"--junitxml={report}", SUITES[library]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (plugins, Path(__file__).parents[1])))},
        check=False,
    )
    cases = ElementTree.parse(report).getroot().iter("testcase")
    results = {case.get("name"): case[0].tag if len(case) else "passed" for case in cases}
    counts = {kind: sum(result == kind for result in results.values()) for kind in sorted({*results.values()})}
    print(f"\n{library}: {len(results)} tests, {counts}")
    failed = {name for name, result in results.items() if result in ("failure", "error")}
    assert counts["passed"] > 100
    assert failed == EXPECTED[library].keys()
