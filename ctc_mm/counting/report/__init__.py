"""The report of a count as a page: what was counted, what was not looked at, and every cell to look at."""
