from pathlib import Path

import pytest
from tests.unit.report.example import Example, make_example


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    folder: Path = tmp_path_factory.mktemp("run")
    return make_example(folder)
