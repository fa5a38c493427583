"""How good a model is: ``functional`` on arrays, ``metrics`` for configs, files, operating point and speed.

Importing it is light: torch and OpenMMLab come with ``metrics`` and ``speed`` only.
"""
