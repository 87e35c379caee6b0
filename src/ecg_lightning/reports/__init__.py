"""Reports: their content as sections, and one renderer each for the terminal, CSV, Markdown, LaTeX and figures."""
