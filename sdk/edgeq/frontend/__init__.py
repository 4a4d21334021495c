"""Model files in and out. The only package that imports the libraries of file formats."""
