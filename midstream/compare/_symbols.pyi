# Nothing in it is for Python.
