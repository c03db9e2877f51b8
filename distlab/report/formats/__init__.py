"""The report as a page, as Markdown, on a terminal, as files."""
