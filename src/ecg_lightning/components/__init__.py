"""Settings of components, the classes that their names stand for, and the packages whose code may run."""
