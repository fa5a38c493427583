"""The nucleus network: its layers, what it learns from, its training and its export."""
