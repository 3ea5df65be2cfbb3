"""The ROS 2 package; `pip install quadloop` brings the same module without ROS's build tools."""

from setuptools import setup

NAME = "go1_control"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[("share/ament_index/resource_index/packages", [f"resource/{NAME}"]), (f"share/{NAME}", ["package.xml"])],
    install_requires=["setuptools"],
    zip_safe=True,
    description="A lifecycle node that walks a Unitree Go1, or its simulated twin, with a policy of quadloop, and logs what happens.",
    license="MIT",
    entry_points={"console_scripts": [f"control_node = {NAME}.node:main"]},
)
