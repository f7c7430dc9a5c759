"""The notebooks: each tells its story to its end, and runs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = ("quantize_your_detector", "learnable_widths", "phone_and_browser", "fpga")


def notebook(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def run(name: str, folder: Path):
    """The outputs of a run in ``folder``, from which the checkout is found as from ``notebooks/``."""
    read = notebook(name)
    NotebookClient(
        read, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return "".join(
        output["text"]
        for cell in read.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )


def run_here(name: str, capsys, monkeypatch) -> str:
    """What its cells print in this process: a kernel takes longer to start than a small notebook to run."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict = {}
    for cell in notebook(name).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    return capsys.readouterr().out


def test_every_notebook_is_run_here():
    assert {file.stem for file in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_as_it_ran(name):
    read = notebook(name)
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.output_type in ("stream", "display_data") for output in outputs)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_with_the_lines_to_change(name):
    last = notebook(name).cells[-1]
    assert last.cell_type == "markdown" and "## Now yours" in last.source
    assert "Three lines change" in last.source and "```python" in last.source


@pytest.mark.parametrize("name", NAMES)
def test_its_links_exist(name):
    for cell in notebook(name).cells:
        for target in re.findall(r"\]\(([^)#:]+)\)", cell.source) if cell.cell_type == "markdown" else ():
            assert (FOLDER / target).exists(), target


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quantize_your_detector(tmp_path):
    assert "% of the bytes" in run("quantize_your_detector", tmp_path)
    assert (tmp_path / "out" / "my-run" / "weights.safetensors").exists()


def test_learnable_widths(capsys, monkeypatch):
    printed = run_here("learnable_widths", capsys, monkeypatch)
    assert float(re.search(r"after these steps ([\d.]+) %", printed)[1]) > 85


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_phone_and_browser(tmp_path):
    assert re.search(r"onnx +ready", run("phone_and_browser", tmp_path))
    packed, whole = (tmp_path / "out" / "phone" / name / "model.onnx" for name in ("packed", "float"))
    assert packed.stat().st_size < 0.12 * whole.stat().st_size


@pytest.mark.fpga
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fpga():
    assert "every layer can be mapped" in run("fpga", FOLDER)
