"""In which words: a part of the report a file."""
