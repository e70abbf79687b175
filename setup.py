"""Package description of aae_mx."""

import re
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "aae_mx/__init__.py").read_text("utf-8"))
# MXNet's exporter uses a module that onnx 1.17 dropped.
ONNX = ["onnx>=1.15,<1.17", "onnxruntime>=1.17"]

setup(
    name="aae_mx",
    version=VERSION.group(1),
    description="Adversarial Autoencoders in Apache MXNet Gluon",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=["aae_mx"],
    package_data={"aae_mx": ["mnist/*.gz", "mnist/README.md", "explore.html"]},
    # Optional: without a C compiler, MXNet's own, slower operator is used. It is no Python
    # module, but is loaded with ctypes by optimizer.py.
    ext_modules=[
        Extension(
            "aae_mx._adam",
            ["aae_mx/adam.c"],
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno"],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ],
    # MXNet 1.9.1, the last release, runs on these; setuptools brings the distutils that it
    # imports and that Python 3.12 no longer has.
    python_requires=">=3.9,<3.13",
    install_requires=[
        "mxnet==1.9.1",
        "numpy>=1.21,<2",
        "matplotlib>=3.5.2",
        "pillow>=8",  # which matplotlib needs, too
        "click>=8.0",
        "scikit-learn>=1.2",
        "setuptools; python_version>='3.12'",
    ],
    extras_require={
        "dev": [
            *("pytest>=7", "pytest-xdist>=3.2", "hypothesis", "ruff"),
            *("nbclient", "nbformat", "ipykernel", *ONNX, "playwright>=1.40"),
        ],
        "onnx": ONNX,
        "bench": ["torch>=2"],
    },
    entry_points={"console_scripts": ["aae-mx = aae_mx.__main__:main"]},
)
