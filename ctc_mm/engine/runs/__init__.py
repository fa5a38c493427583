"""Trainings with their tests, each in a folder and in processes of its own: resumable, several at a time."""
