"""Builds `defakeq-runtime` from the sources of `brevitas_defakeq`: only what runs on the device."""

import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"


class BuildRuntime(build_py):
    """Takes the packages of pyproject.toml whole, but of the top one only `__init__`; adds the licence."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        return [entry for entry in modules if "." in package or entry[1] == "__init__"]

    def run(self) -> None:
        super().run()
        self.copy_file(str(LICENSE), str(Path(self.build_lib) / "brevitas_defakeq" / "runtime" / "LICENSE"))


with tempfile.TemporaryDirectory() as scratch:  # files of an earlier build would end up in the wheel
    setup(
        cmdclass={"build_py": BuildRuntime},
        options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}},
    )
