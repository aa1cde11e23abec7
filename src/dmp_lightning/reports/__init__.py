"""Reads the records of runs, compares them, and makes tables, verdicts, plots, pictures and pages."""
