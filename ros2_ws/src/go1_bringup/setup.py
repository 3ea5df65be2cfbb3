"""Launch files and parameters; there is no code in this package."""

from pathlib import Path

from setuptools import setup

NAME = "go1_bringup"

setup(
    name=NAME,
    version="0.1.0",
    packages=[],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *((f"share/{NAME}/{folder}", sorted(map(str, Path(folder).iterdir()))) for folder in ("launch", "config")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    description="Launch files and parameters for go1_control on a robot, on its simulated twin, and on a recorded walk.",
    license="MIT",
)
