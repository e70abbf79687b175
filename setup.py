"""Package description of aae_mx."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "aae_mx/__init__.py").read_text("utf-8"))
CLUSTER = ["dask", "distributed"]
ONNX = ["onnx>=1.15", "onnxruntime>=1.17"]

setup(
    name="aae_mx",
    version=VERSION.group(1),
    description="Adversarial Autoencoders in Apache MXNet Gluon",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="The authors of aae_mx",
    license="Apache-2.0",
    license_files=["LICENSE", "aae_mx/data/mnist/README.md"],
    keywords="adversarial autoencoder, generative model, semi-supervised, clustering, MXNet, Gluon",
    project_urls={
        "Paper": "https://arxiv.org/abs/1511.05644",
        "Original code": "https://github.com/nicklhy/AdversarialAutoEncoder",
        "MXNet": "https://mxnet.apache.org/versions/1.9.1/",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Framework :: Jupyter",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(9, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["aae_mx", "aae_mx.*"]),
    # Said so, an editable installation puts this folder on Python's path. Its other way, a finder
    # of modules, loses to a clone called aae_mx in the folder where Python is started.
    package_dir={"": "."},
    package_data={
        "aae_mx": [
            "data/mnist/*.gz",
            "data/mnist/README.md",
            "explore/page.html",
            "report/page.html",
            "py.typed",
        ]
    },
    # Optional: without a C compiler, MXNet's own, slower operator is used. It is no Python
    # module, but is loaded with ctypes by training/adam.py.
    ext_modules=[
        Extension(
            "aae_mx.training._adam",
            ["aae_mx/training/adam.c"],
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno"],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ],
    python_requires=">=3.9",
    install_requires=[
        # The last release. Its metadata ask for NumPy below 2, which Python 3.13 does not have;
        # its code does not need it (backend.py), so there `make` installs it without looking.
        "mxnet==1.9.1; python_version<'3.13'",
        "requests>=2.20; python_version>='3.13'",  # which it needs
        "numpy>=1.21",
        "matplotlib>=3.5.2",
        "pillow>=8",  # which matplotlib needs, too
        "click>=8.0",
        "scikit-learn>=1.6",
        "setuptools; python_version>='3.12'",  # for the distutils that mxnet imports
    ],
    extras_require={
        "dev": [
            *("pytest>=7", "pytest-xdist>=3.2", "hypothesis", "ruff"),
            *("setuptools>=64", "wheel"),  # to build the package without the network
            *("nbclient", "nbformat", "ipykernel", *ONNX, *CLUSTER, "playwright>=1.40"),
            # Of which the last that takes NumPy below 2.
            *("mypy>=1.10", "pandas<3; python_version<'3.13'", "pandas; python_version>='3.13'"),
        ],
        "onnx": ONNX,
        "cluster": CLUSTER,
        "bench": ["torch>=2", "jax", "optax"],
    },
    entry_points={"console_scripts": ["aae-mx = aae_mx.__main__:main"]},
)
