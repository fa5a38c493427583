import pytest

from ctc_mm.engine.hooks.export_hook import ExportHook
from ctc_mm.engine.hooks.grad_cam_hook import GradCAMHook
from ctc_mm.engine.hooks.tsne_hook import TSNEHook


@pytest.mark.parametrize("hook", [GradCAMHook, TSNEHook])
@pytest.mark.parametrize("interval", [0, -1, 2.0, True, "5"])
def test_interval_is_a_positive_whole_number(hook, interval):
    with pytest.raises(ValueError, match=f"{hook.__name__}: `interval` must be a whole number of at least 1"):
        hook(interval=interval)


def test_pictures_show_the_weights_that_were_validated():
    # EMAHook puts the training weights back at NORMAL.
    assert {hook.priority for hook in (ExportHook, GradCAMHook, TSNEHook)} == {"ABOVE_NORMAL"}


def test_pictures_of_two_hooks_do_not_share_a_folder():
    assert GradCAMHook.default_folder != TSNEHook.default_folder
