"""Sections of a report, and one renderer each for the terminal, CSV, Markdown, LaTeX and figures."""
