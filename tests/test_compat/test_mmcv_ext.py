"""When the stand-in answers for ``mmcv._ext``, when it keeps out, and what it says where neither works."""

import importlib.util
import inspect
import os
import pickle
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path

import mmcv._ext
import pytest

from ctc_mm.compat.mmcv_ext import MMCVExtFinder, StandIn, compiled_files, install_stand_in
from ctc_mm.errors import MissingOpError

needs_stand_in = pytest.mark.skipif(
    not isinstance(mmcv._ext, StandIn), reason="mmcv has compiled ops here, the stand-in is not in use"
)
THIS_PYTHON = f"_ext{EXTENSION_SUFFIXES[0]}"
FOREIGN = ["_ext.cpython-38-x86_64-linux-gnu.so", "_ext.cp311-win_arm64.pyd", "_ext.cpython-39-darwin.so"]


@pytest.fixture
def run_python(repo, tmp_path):
    """Run code in a fresh Python that finds packages in ``tmp_path`` first; return stdout, fail on an error."""

    def run(code):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(repo)])}
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture
def mmcv_folder(tmp_path):
    """An empty package ``mmcv``: what the finder decides on is only the files beside it."""
    folder = tmp_path / "mmcv"
    folder.mkdir()
    (folder / "__init__.py").touch()
    return folder


IMPORT_AND_EXPLAIN = """
    import ctc_mm
    from ctc_mm.errors import InstallationError
    import importlib.util
    assert importlib.util.find_spec("mmcv._ext") is not None  # it is there, even if broken
    try:
        import mmcv._ext
    except InstallationError as error:
        print(error)
"""


def compile_extension(folder, body):
    """Compile a C module ``_ext`` into ``folder``, or skip the test where that is impossible."""
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")
    include = sysconfig.get_path("include")
    if compiler is None or sys.platform == "win32" or not Path(include, "Python.h").exists():
        pytest.skip("no C compiler or no Python headers")
    source = folder / "ext.c"
    source.write_text(
        "#include <Python.h>\n"
        "extern int _ZN2at7missingEv(void);\n"
        'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_ext", NULL, -1, NULL};\n'
        "PyMODINIT_FUNC PyInit__ext(void) { PyObject *made = PyModule_Create(&module); " + body + " return made; }\n"
    )
    flags = ["-shared", "-fPIC"] + (["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else [])
    subprocess.run([compiler, *flags, f"-I{include}", str(source), "-o", str(folder / THIS_PYTHON)], check=True)


def test_importing_ctc_mm_is_light(run_python):
    heavy = ("torch", "torchvision", "mmcv", "mmengine", "mmdet", "mmpretrain", "numpy", "cv2")
    loaded = run_python(f"import sys, ctc_mm; print([name for name in {heavy} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_stand_in_answers_without_a_compiled_file(run_python, mmcv_folder):
    (mmcv_folder / "_extras.so").touch()  # another module
    (mmcv_folder / "_ext.so.txt").touch()
    output = run_python(
        """
        import sys, ctc_mm, mmcv._ext
        print(type(mmcv._ext).__name__, mmcv._ext.__spec__.name, "torch" in sys.modules)
        """
    )
    assert output.split() == ["StandIn", "mmcv._ext", "False"]


def test_real_extension_is_left_alone(run_python, mmcv_folder):
    compile_extension(mmcv_folder, body='PyModule_AddIntConstant(made, "answer", 42);')
    (mmcv_folder / FOREIGN[0]).touch()  # a leftover does not matter
    output = run_python("import ctc_mm, mmcv._ext as ext; print(ext.answer, ext.__file__, hasattr(ext, 'nms'))")
    assert output.split() == ["42", str(mmcv_folder / THIS_PYTHON), "False"]


def test_real_module_in_python_is_left_alone(run_python, mmcv_folder):
    (mmcv_folder / "_ext.py").write_text("answer = 43\n")
    assert run_python("import ctc_mm, mmcv._ext as ext; print(ext.answer, hasattr(ext, 'nms'))").split() == [
        "43",
        "False",
    ]


def test_extension_with_an_undefined_symbol_is_explained(run_python, mmcv_folder):
    compile_extension(mmcv_folder, body="_ZN2at7missingEv();")
    message = run_python(IMPORT_AND_EXPLAIN)
    assert str(mmcv_folder / THIS_PYTHON) in message
    assert "_ZN2at7missingEv" in message
    assert "pip uninstall -y onedl-mmcv && python -m pip install --no-deps --no-cache-dir onedl-mmcv" in message
    assert "MMCV_WITH_OPS=1 python -m pip install" in message


def test_extension_that_is_no_library_is_explained(run_python, mmcv_folder):
    (mmcv_folder / THIS_PYTHON).write_text("cut short")
    message = run_python(IMPORT_AND_EXPLAIN)
    assert f"cannot be loaded: {mmcv_folder / THIS_PYTHON}" in message
    assert "pip uninstall -y onedl-mmcv" in message


@pytest.mark.parametrize("name", FOREIGN)
def test_extension_of_another_python_is_explained(run_python, mmcv_folder, name):
    (mmcv_folder / name).touch()
    message = run_python(IMPORT_AND_EXPLAIN)
    assert str(mmcv_folder / name) in message
    assert f"built for another Python or platform (this one loads {THIS_PYTHON})" in message
    assert "pip uninstall -y onedl-mmcv" in message


def test_compiled_files_of_any_python(tmp_path):
    assert compiled_files([tmp_path, tmp_path / "missing"]) == []
    wanted = [*FOREIGN, "_ext.so", "_ext.abi3.so"]
    for name in [*wanted, "_ext.py", "_ext.cpp", "_extras.so", "other.so"]:
        (tmp_path / name).touch()
    (tmp_path / "_ext.folder.so").mkdir()
    assert compiled_files([tmp_path]) == sorted(tmp_path / name for name in wanted)


def test_loader_of_a_real_file_is_pythons_own_kind(tmp_path):
    (tmp_path / THIS_PYTHON).touch()
    spec = MMCVExtFinder().find_spec("mmcv._ext", [str(tmp_path)])
    assert isinstance(spec.loader, ExtensionFileLoader)
    assert spec.origin == spec.loader.path == str(tmp_path / THIS_PYTHON)


def test_finder_answers_for_one_name_and_is_installed_once():
    finders = [finder for finder in sys.meta_path if isinstance(finder, MMCVExtFinder)]
    assert len(finders) == 1
    assert finders[0].find_spec("mmcv", None) is None
    assert finders[0].find_spec("mmdet._ext", None) is None
    install_stand_in()
    assert sum(isinstance(finder, MMCVExtFinder) for finder in sys.meta_path) == 1


@needs_stand_in
def test_missing_op_names_itself_and_the_cure():
    assert hasattr(mmcv._ext, "deform_conv_forward")
    with pytest.raises(MissingOpError, match=r"`deform_conv_forward` is not installed.*MMCV_WITH_OPS=1 python -m pip"):
        mmcv._ext.deform_conv_forward(1, keyword=2)


@needs_stand_in
def test_missing_op_shows_through_mmcvs_wrapper():
    import torch
    from mmcv.ops import soft_nms

    with pytest.raises(MissingOpError, match="`softnms`"):
        soft_nms(torch.zeros(1, 4), torch.zeros(1))


@needs_stand_in
@pytest.mark.parametrize("name", ["__file__", "__path__", "__wrapped__", "_private"])
def test_other_names_are_absent(name):
    with pytest.raises(AttributeError, match=name):
        getattr(mmcv._ext, name)


@needs_stand_in
def test_stand_in_bears_inspection():
    ext = mmcv._ext
    assert {"nms", "roi_align_forward", "sigmoid_focal_loss_backward"} <= set(dir(ext))
    assert inspect.getmodule(ext.softnms) is ext
    assert dict(inspect.getmembers(ext))["__name__"] == "mmcv._ext"
    assert ext.__spec__.origin == "ctc_mm.compat.mmcv_ext"
    assert importlib.util.find_spec("mmcv._ext") is ext.__spec__
    with pytest.raises(TypeError, match="built-in"):  # as for every module without a file
        inspect.getsourcefile(ext)


@needs_stand_in
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_open_mmlab_finds_it():
    from mmcv.utils import collect_env
    from mmcv.utils.ext_loader import check_ops_exist
    from mmengine.utils.dl_utils import mmcv_full_available

    assert pkgutil.find_loader("mmcv._ext") is mmcv._ext.__spec__.loader
    assert check_ops_exist()
    assert mmcv_full_available()
    assert "stand-in" in collect_env()["MMCV Compiler"]


@needs_stand_in
@pytest.mark.parametrize("name", ["nms", "softnms"])
def test_ops_can_be_pickled(name):
    op = getattr(mmcv._ext, name)
    assert pickle.loads(pickle.dumps(op)) is op


@needs_stand_in
def test_mmcv_ops_can_be_imported_after_a_first_failure(run_python):
    output = run_python(
        """
        try:
            import mmcv.ops
        except ModuleNotFoundError as error:
            print(error.name)
        import ctc_mm
        import mmcv.ops, torch
        print(mmcv.ops.nms(torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]]), torch.tensor([0.1, 0.2]), 0.5)[1].tolist())
        """
    )
    assert output.split() == ["mmcv._ext", "[1]"]
