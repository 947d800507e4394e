"""The family of latents that the contributors' guide adds."""

import importlib
import re
from pathlib import Path

from pyrocount import amortized, config, fit, models

ROOT = Path(__file__).parents[1]


def test_a_new_family_is_one_file_and_one_line(tmp_path, monkeypatch, capsys):
    code, _ = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("pyrocount.models.latents.gamma", loader=None)
    )
    exec(code, vars(module))
    monkeypatch.setitem(models.MODELS, "gamma", module.GammaLatent)
    # The command line reads the registry when it is imported.
    field = config.Config.__dataclass_fields__["model"]
    monkeypatch.setattr(field, "metadata", {**field.metadata, "choices": tuple(models.MODELS)})
    monkeypatch.setattr(amortized.AmortizedFitting, "draw", lambda *arguments: None)
    for estimator in ("pathwise", "score", "exact"):
        line = f"--model gamma --estimator {estimator} --decoder lin --epochs 2 --out {tmp_path}"
        assert fit.main(line.split()) == 0
        assert "nelbo" in capsys.readouterr().out
