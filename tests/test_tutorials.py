"""The tutorials run from top to bottom, in a small setting, and hold the outputs of a full run."""

import tempfile
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def text_of(notebook, name):
    return "".join(output.text for output in outputs(notebook) if output.get("name") == name)


def figures_of(notebook):
    drawn = [output.data for output in outputs(notebook) if "Figure" in output.get("data", {}).get("text/plain", "")]
    assert all("image/png" in data for data in drawn)
    return len(drawn)


def test_there_are_six():
    assert [path.name[:2] for path in TUTORIALS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # of the Jupyter client's, which are not ours
def test_tutorial(path, tutorials, tmp_path):
    kept = nbformat.read(path, as_version=4)
    settings = tutorials.SMALL.findall("\n".join(cell.source for cell in kept.cells))
    assert settings, "there is no small setting"
    executed = tutorials.execute(path, small=True, folder=tmp_path)

    assert [cell.source for cell in executed.cells] == [cell.source for cell in kept.cells]
    # Fits of the small setting are too short for their number of latents.
    assert "Warning" not in text_of(executed, "stderr").replace("ConvergenceWarning", "")
    assert figures_of(executed) == figures_of(kept) >= 3
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "not kept from one full run"
    assert "Warning" not in text_of(kept, "stderr")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_what_is_kept_is_of_no_machine(path):
    text = path.read_text()
    for place in (ROOT, Path.home(), tempfile.gettempdir(), "/home"):
        assert f"{place}/" not in text


def test_a_cell_that_fails_is_told(tutorials, tmp_path):
    path = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), path)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        tutorials.execute(path, small=True)
