"""The wheel holds `experiments` and `configs`, which a checkout has at its top, inside harmjax."""

import setuptools

TOP = ("experiments", "configs")

setuptools.setup(
    packages=[*setuptools.find_packages(include=["harmjax*"]), *(f"harmjax.{n}" for n in TOP)],
    package_dir={f"harmjax.{n}": n for n in TOP},
)
