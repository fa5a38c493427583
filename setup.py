"""Package metadata and dependencies of ctc_mm (build back end and tool settings: pyproject.toml)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "ctc_mm" / "__init__.py").read_text(encoding="utf-8"), re.M)[1]

# `imaug`, which onedl-mmdetection asks for, brings opencv-python-headless beside opencv-python. Both unpack the
# folder `cv2`, so whichever is installed last wins; the same exact version makes that harmless.
OPENCV = "4.13.0.92"

INSTALL_REQUIRES = [
    # OpenMMLab under its maintained forks (import names: mmengine, mmcv, mmdet, mmpretrain).
    "onedl-mmengine>=0.10.12,<0.11",
    "onedl-mmcv>=2.3.6,<2.4",
    "onedl-mmdetection>=3.5.1,<3.6",
    "onedl-mmpretrain>=1.3.6,<1.4",
    "torch>=2.6,<3",
    "torchvision>=0.21,<1",
    # Arrays and images.
    "numpy>=1.26,<3",
    "scipy>=1.13,<2",
    f"opencv-python=={OPENCV}",
    f"opencv-python-headless=={OPENCV}",
    "pillow>=10,<13",
    "tifffile>=2025.5.21,<2027",
    "imagecodecs>=2025.3.30,<2027",
    # Annotations and evaluation.
    "defusedxml>=0.7.1,<0.8",
    "openpyxl>=3.1,<4",
    "pycocotools>=2.0.8,<3",
    "faster-coco-eval>=1.6.5,<2",
    "scikit-learn>=1.5,<2",
    # Maps of cells (t-SNE), slides read in regions, many machines, reports.
    "openTSNE>=1.0,<2",
    "zarr>=3.0,<4",
    "dask>=2025.1,<2027",
    "distributed>=2025.1,<2027",
    "jinja2>=3.1,<4",
    "pyarrow>=17,<28",
    # Pictures and progress.
    "matplotlib>=3.9,<4",
    "rich>=13,<16",
]

# Other engines than PyTorch, and the files they run.
EXPORT = [
    "onnx>=1.17,<2",
    "onnxscript>=0.5,<1",
    "onnx-ir>=0.1,<2",
    "onnxruntime>=1.20,<2",
    "openvino>=2025.0,<2027",
    "nncf>=3.0,<4",  # int8 for OpenVINO
]

EXTRAS_REQUIRE = {
    "export": EXPORT,
    "slurm": ["dask-jobqueue>=0.9,<1"],
    "tracking": ["tensorboard>=2.17,<3", "mlflow>=2.20,<4"],
    "dev": [
        *EXPORT,
        "hypothesis>=6.100,<7",  # property tests
        "pytest>=8,<10",
        "pytest-xdist>=3.6,<4",
        "ruff>=0.14,<0.16",
        "scikit-image>=0.24,<1",  # what the benchmarks compare with
        "sahi>=0.11.20,<0.13",  # likewise
        "selenium>=4.20,<5",  # reports are opened in a browser
        "grad-cam>=1.5.4,<1.6",  # what Grad-CAM of classifiers is checked against
        "tensorboard>=2.17,<3",
        "mlflow-skinny>=2.20,<4",  # mlflow without its server
    ],
}

setup(
    name="ctc_mm",
    version=VERSION,
    description="Find and count circulating tumor cells in microscope images: a plugin of MMDetection and MMPretrain.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["ctc_mm", "ctc_mm.*"]),
    package_data={"ctc_mm": ["py.typed", "imaging/weights/*.onnx", "**/templates/*.j2"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
    ],
)
