"""Fields drawn by hand for tests of the imFISH rule: discs with rings and signals at exact places."""

import cv2
import numpy as np

UM_PER_PX = 0.25


class HandDrawnField:
    """Three channels of 12-bit grey values with noise; objects are put in one by one."""

    def __init__(self, size_wh=(256, 256), seed=0, background=120.0):
        self.light = np.zeros((3, size_wh[1], size_wh[0]), np.float32)
        self.background = background
        self.seed = seed

    def nucleus(self, y, x, radius=17, dapi=1200.0, cd45=0.0, spots=(), blur=0.7, spot_peak=500.0):
        """Put in a round nucleus, its cytoplasm 5 px around it, and signals at offsets from its middle."""
        ys, xs = np.mgrid[: self.light.shape[1], : self.light.shape[2]]
        distance = np.hypot(ys - y, xs - x)
        disc = cv2.GaussianBlur(np.float32(dapi * (distance <= radius)), (0, 0), blur)
        # Nuclei that touch, not nuclei that shine through one another: those are the phantom's.
        self.light[0] = np.maximum(self.light[0], disc)
        self.light[2] += cv2.GaussianBlur(np.float32(cd45 * (distance <= radius + 5)), (0, 0), 0.7)
        for dy, dx in spots:
            self.light[1] += np.float32(spot_peak) * np.exp(-0.5 * ((ys - y - dy) ** 2 + (xs - x - dx) ** 2) / 1.4**2)
        return self

    def channels(self, dtype=np.uint16):
        """DAPI, CEP8 and CD45."""
        noise = np.random.default_rng(self.seed).normal(0, 6, self.light.shape)
        pixels = np.clip(np.rint(self.light + self.background + noise), 0, 4095)
        return list(pixels.astype(dtype))


TWO = ((-7, 0), (6, 5))
THREE = ((-7, -2), (6, 6), (4, -7))
FOUR = (*THREE, (-4, 8))


def one_of_each():
    """A CTC, a WBC with three signals, cells with 0 to 2 signals, a pair, a clump, a fragment, a cut and a blurred."""
    field = HandDrawnField((512, 512))
    field.nucleus(60, 60, spots=FOUR)
    field.nucleus(60, 160, cd45=700, spots=THREE)
    field.nucleus(60, 260, spots=())
    field.nucleus(60, 360, spots=((0, 3),))
    field.nucleus(60, 450, spots=TWO)
    field.nucleus(180, 60, cd45=700, spots=TWO)
    field.nucleus(180, 160, cd45=800, spots=TWO)
    field.nucleus(180, 260, radius=5)
    field.nucleus(180, 360, spots=THREE, blur=8, dapi=1800)
    field.nucleus(300, 2, spots=THREE)
    field.nucleus(300, 150, spots=THREE).nucleus(300, 183, spots=TWO)
    field.nucleus(300, 330).nucleus(300, 363).nucleus(333, 363)
    return field
