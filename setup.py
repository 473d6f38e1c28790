"""What pyproject.toml cannot say: a wheel carries ``bundles/``, ``demo/``, ``workflow/``, the license.

They stay where they are in the project, and in an editable installation are read there.
"""

from pathlib import Path
from shutil import copyfile, copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBundles(build_py):
    """Copies them into the package, where `nacl_monai.wheel` looks for them."""

    def run(self) -> None:
        """Builds the modules, and then copies."""
        super().run()
        if not self.editable_mode:
            shipped = Path(self.build_lib, "nacl_monai/shipped")
            for folder in ("bundles", "demo", "workflow"):
                copytree(folder, shipped / folder, dirs_exist_ok=True)
            copyfile("LICENSE", shipped / "LICENSE")


setup(cmdclass={"build_py": BuildWithBundles})
