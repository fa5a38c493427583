"""Reading and writing images: the one place to import from.

- One grey or RGB image, whole: ``read_image``, ``image_size_wh`` (decode.py), ``write_image``, ``write_png``
  (encode.py).
- A field of one or more named channels, region by region: ``open_field`` (field_files.py), ``field_from_arrays``,
  ``Field`` (field.py); all fields of a folder: ``list_fields`` (field_list.py); ``parse_channel_map`` (channels.py).
- A field to one OME-TIFF: ``write_ome_tiff`` (encode.py).

Pixels keep the file's bit depth (uint8, uint16, float32) everywhere; nothing is cast to 8 bits.
"""

from ctc_mm.imaging.channels import parse_channel_map
from ctc_mm.imaging.decode import image_size_wh, read_image
from ctc_mm.imaging.encode import WRITABLE_SUFFIXES, write_image, write_ome_tiff, write_png
from ctc_mm.imaging.field import Field, field_from_arrays
from ctc_mm.imaging.field_files import open_field
from ctc_mm.imaging.field_list import FieldSource, list_fields

__all__ = [
    "WRITABLE_SUFFIXES",
    "Field",
    "FieldSource",
    "field_from_arrays",
    "image_size_wh",
    "list_fields",
    "open_field",
    "parse_channel_map",
    "read_image",
    "write_image",
    "write_ome_tiff",
    "write_png",
]
