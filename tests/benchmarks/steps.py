"""Time per step, import cost of each step, and the orchestration share: `make bench`.

Runs a recipe in an empty folder and prints where the time went. Import costs are the minimum of
several fresh interpreters, less a bare interpreter's start. Figures compare within one run only.
"""

import argparse
import ast
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import aelif
from aelif_pipelines.local import Workplace, run_locally
from aelif_pipelines.recipes import RECIPES, recipe


def step_imports() -> dict[str, str]:
    """Return, for each component, the import statements of its body."""
    found = {}
    for path in sorted(Path(aelif.__file__).parent.glob("*/component.py")):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef):
                lines = [ast.unparse(node) for node in function.body if isinstance(node, ast.Import | ast.ImportFrom)]
                found[function.name] = "\n".join(lines)
    return found


def fastest(code: str, repeats: int) -> float:
    """Return the least seconds that a fresh interpreter takes for `code`."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - began)
    return min(times)


def print_seconds(console: Console, title: str, seconds: dict[str, float]) -> None:
    table = Table("", "seconds", title=title, title_justify="left")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="quickstart", choices=list(RECIPES))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    console = Console()

    bare = fastest("pass", arguments.repeats)
    imports = {step: fastest(code, arguments.repeats) - bare for step, code in step_imports().items()}
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(output=Path(folder) / "run")
        first = run_locally(recipe(arguments.recipe), place, console=console)["timings"]
        again = run_locally(recipe(arguments.recipe), place, console=console)["timings"]

    print_seconds(console, "imports of each component, in a fresh interpreter", imports)
    print_seconds(console, f"{arguments.recipe}: own work of each step, all its tasks", first["steps_s"])
    share = first["orchestration_s"] / first["total_s"]
    console.print(f"whole run {first['total_s']:.0f} s, orchestration {share:.1%}; again {again['total_s']:.0f} s")


if __name__ == "__main__":
    main()
