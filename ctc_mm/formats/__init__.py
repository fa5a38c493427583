"""Label files in and out: Labelme, Pascal VOC, COCO. Pure: neither torch nor anything of OpenMMLab.

A reader (``labelme``, ``voc``, ``coco``) refuses what is not as it should be, with file, place and cure. ``labels``
turns labels into classes, ``assemble`` marks into a ``LabelledSet``, ``coco.write_coco`` is the one writer, ``report``
counts what was kept, changed and left out. A further format is one more reader, and a script in ``data_converters/``.
"""
