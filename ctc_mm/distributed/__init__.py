"""The same count on many processes and machines (Dask): maps counting/ over slides and tiles, no logic of its own."""
