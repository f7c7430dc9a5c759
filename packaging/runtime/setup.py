"""Builds `defakeq-runtime` from the sources of `brevitas_defakeq`: only what runs on the device."""

import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"

#: Package -> the modules taken from it; a package that is not named gives all of its modules.
TAKEN = {
    "brevitas_defakeq": {"__init__"},
}


class BuildRuntime(build_py):
    """Copies the named modules and the licence."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if entry[1] in TAKEN.get(package, {entry[1]})]

    def run(self) -> None:
        super().run()
        self.copy_file(str(LICENSE), str(Path(self.build_lib) / "brevitas_defakeq" / "runtime" / "LICENSE"))


with tempfile.TemporaryDirectory() as scratch:  # files of an earlier build would end in the wheel
    setup(
        cmdclass={"build_py": BuildRuntime},
        options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}},
    )
