"""Package metadata and the package map; `adapters/` is installed as `netlens.adapters`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "netlens" / "version.py").read_text()).group(1)

# a superpixel is scikit-image's, a regression scikit-learn's
SUPERPIXELS = ["scikit-image>=0.24", "scikit-learn>=1.5"]
# the linear systems of imputed images are SciPy's
EVALUATION = ["scipy>=1.13", *SUPERPIXELS]
# oracles that tests compare numbers with, and peers in benchmarks; torchcam has left Python 3.10
ORACLES = [
    *("captum>=0.8", "zennit>=0.5.1", "grad-cam>=1.5.4", "quantus>=0.6", "flashtorch>=0.1.3", "torch-lucent>=0.1.8"),
    'torchcam>=0.5; python_version >= "3.11"',
]
# groups of an atlas are found by scikit-learn
ATLAS = ["scikit-learn>=1.5"]
# files of samples in Parquet are read by pyarrow, and what a survey has found becomes tables
SURVEY = ["pyarrow>=17", "pandas>=2.2"]
# surveys on a cluster
RAY = ["ray[data]>=2.40"]
# the plane of an atlas of a data set, on which like lies beside like
UMAP = ["umap-learn>=0.5.7"]
# the page in the browser
PLAYGROUND = ["gradio>=6.20,<7", "imageio>=2.34", "imageio-ffmpeg>=0.5"]
# networks of other libraries, by name
TIMM = ["timm>=1.0.15"]
HUGGING_FACE = ["transformers>=5"]
# other libraries whose networks `make matrix` unrolls
NETWORKS = ["segmentation-models-pytorch>=0.5", "monai>=1.5", "open-clip-torch>=3", "peft>=0.18", "einops>=0.8"]
TEST = ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.8", "mypy>=1.13", "nbclient>=0.10", "ipykernel>=6"]
# the site of the docs; Sphinx has left Python 3.10
DOCS = [
    f'{name}; python_version >= "3.11"'
    for name in ("sphinx>=9", "myst-nb>=1.4", "furo>=2025.12.19", "sphinx-copybutton>=0.5.2")
]
# a person's hand in the page
BROWSER = ["playwright>=1.50"]
# another program that reads the tables of a survey
READERS = ["duckdb>=1.1"]

setup(
    name="netlens",
    version=VERSION,
    description="A model-agnostic interpretability engine for vision networks in PyTorch",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The netlens developers",
    license="MIT",
    license_files=["LICENSE"],
    keywords=[
        "interpretability",
        "explainable AI",
        "attribution",
        "saliency",
        "class activation maps",
        "feature visualization",
        "DeepDream",
        "style transfer",
        "computer vision",
        "PyTorch",
    ],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Framework :: Jupyter",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Scientific/Engineering :: Visualization",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[*find_packages(include=["netlens", "netlens.*"]), "netlens.adapters"],
    package_dir={"netlens": "netlens", "netlens.adapters": "adapters"},
    package_data={
        "netlens": ["py.typed", "methods.pyi"],
        "netlens.pages": ["frame/*"],
        "netlens.report": ["pages/*"],
        "netlens.testing": ["pages/*"],
        "netlens.world": ["*.safetensors"],
    },
    install_requires=[
        "torch>=2.8",
        "torchvision>=0.23",
        "numpy>=1.26",
        "matplotlib>=3.8",
        "pyimgy>=0.1.0",
        "pillow>=10",
        "safetensors>=0.4",
        "tqdm>=4.66",
        "click>=8.1",
        "jinja2>=3.1",
    ],
    extras_require={
        "atlas": ATLAS,
        "umap": UMAP,
        "superpixels": SUPERPIXELS,
        "evaluation": EVALUATION,
        "survey": SURVEY,
        "ray": RAY,
        "playground": PLAYGROUND,
        "timm": TIMM,
        "hf": HUGGING_FACE,
        "test": [
            *TEST,
            *(*ORACLES, *EVALUATION, *UMAP, *TIMM, *HUGGING_FACE, *PLAYGROUND, *SURVEY, *BROWSER, *READERS, *DOCS),
        ],
        "bench": [*ORACLES, *EVALUATION],
        "matrix": [*TIMM, *HUGGING_FACE, *NETWORKS],
        "docs": DOCS,
        "notebook": ["jupyterlab>=4", "pytest>=8"],
    },
    entry_points={
        "console_scripts": ["netlens = netlens.cli:main"],
        "pytest11": ["netlens = netlens.testing.plugin"],
    },
)
