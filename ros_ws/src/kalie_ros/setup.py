"""What colcon installs of kalie_ros."""

from setuptools import find_packages, setup

NODES = ("affordance", "control", "sim_arm", "recorder")

setup(
    name="kalie_ros",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/kalie_ros"]),
        ("share/kalie_ros", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    # By this name colcon knows that pytest runs the tests.
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    maintainer="The kalie developers",
    maintainer_email="maintainers@kalie.dev",
    description="The nodes of kalie.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{name}_node = kalie_ros.{name}_node:main" for name in NODES]},
)
